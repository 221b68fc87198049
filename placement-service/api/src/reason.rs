//! Why the placement service rejects a request: one constant per cause, shared by the problem body, the metric label,
//! the log field and the tests.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)+) => {
        /// Why the placement service rejects a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum RejectReason {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl RejectReason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The constant, in kebab-case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status of this reason on the routes of the contract.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

reasons! {
    /// The request itself is malformed; the problem's `detail` names the field.
    InvalidRequest = "invalid-request", 400;
    /// The caller did not prove that it is a gateway.
    UnknownGateway = "unknown-gateway", 403;
    /// The request has no login cookie.
    NoSession = "no-session", 401;
    /// The login cookie names no session.
    UnknownSession = "unknown-session", 401;
    /// The login cookie names a session that has expired.
    SessionExpired = "session-expired", 440;
    /// The verification of the client's bearer token failed.
    BearerInvalid = "bearer-invalid", 401;
    /// The session is not permitted to do this.
    Forbidden = "forbidden", 403;
    /// No configured route matches this path.
    NoSuchRoute = "no-such-route", 404;
    /// The engine does not know the document.
    NoSuchDocument = "no-such-document", 404;
    /// The account has reached its limit of sessions.
    TooManySessions = "too-many-sessions", 429;
    /// The session, or the account of the bearer token, has reached its limit of streams in the pool.
    TooManyStreams = "too-many-streams", 429;
    /// No engine is up.
    NoEngine = "no-engine", 503;
    /// Engines are up, but none has capacity.
    EnginesFull = "engines-full", 503;
    /// The session store does not answer.
    StoreDown = "store-down", 503;
    /// Another login service keeps the sessions, so this service cannot start or end one.
    ReadOnlyStore = "read-only-store", 501;
    /// Every engine that was tried refused or did not respond.
    EngineFailed = "engine-failed", 503;
    /// A fault of the service itself; its log has the cause.
    Internal = "internal", 500;
}
