//! Why the placement service refused: one constant per cause, shared by the problem body, the metric
//! label, the log field and the tests.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal;)+) => {
        /// The cause of a refusal by the placement service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The constant, in kebab-case.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// The HTTP status that goes with it on the contract's routes.
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
    /// No login cookie came with the request.
    NoSession = "no-session", 401;
    /// A login cookie that names no session.
    UnknownSession = "unknown-session", 401;
    /// A login cookie that names a session that has ended by time.
    SessionExpired = "session-expired", 440;
    /// A token that a program brought along by itself, and that does not pass the check.
    BearerInvalid = "bearer-invalid", 401;
    /// The session may not do this.
    Forbidden = "forbidden", 403;
    /// No route of the service's configuration takes this path.
    NoSuchRoute = "no-such-route", 404;
    /// The engine does not know the document.
    NoSuchDocument = "no-such-document", 404;
    /// The account has as many sessions as it may.
    TooManySessions = "too-many-sessions", 429;
    /// The session, or the program's account, has as many streams in the pool as it may.
    TooManyStreams = "too-many-streams", 429;
    /// No engine is up.
    NoEngine = "no-engine", 503;
    /// Engines are up, none has room.
    EnginesFull = "engines-full", 503;
    /// The session store does not answer.
    StoreDown = "store-down", 503;
    /// Sessions are kept by another login service: here none begins or ends.
    ReadOnlyStore = "read-only-store", 501;
    /// Every engine that was tried refused or stayed silent.
    EngineFailed = "engine-failed", 503;
    /// A fault of the service itself; its log says more.
    Internal = "internal", 500;
}
