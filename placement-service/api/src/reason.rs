//! Why the placement service rejects a request: one table from the cause to its constant, status and title, shared by
//! the problem bodies of the service and of the filter, metric labels, log fields and tests.

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:literal, $title:literal;)+) => {
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

            /// The title of the problem: one short sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

reasons! {
    /// The request itself is malformed; the problem's `detail` names the field.
    InvalidRequest = "invalid-request", 400, "The request is malformed";
    /// The caller did not prove that it is a gateway.
    UnknownGateway = "unknown-gateway", 403, "The caller did not prove that it is a gateway";
    /// The request has no login cookie.
    NoSession = "no-session", 401, "Nobody is logged in";
    /// The login cookie names no session.
    UnknownSession = "unknown-session", 401, "The session is unknown";
    /// The login cookie names a session that has expired.
    SessionExpired = "session-expired", 440, "The session has expired";
    /// The verification of the client's bearer token failed.
    BearerInvalid = "bearer-invalid", 401, "The bearer token is invalid";
    /// The session is not permitted to do this.
    Forbidden = "forbidden", 403, "The session may not do this";
    /// No configured route matches this path.
    NoSuchRoute = "no-such-route", 404, "No route takes this path";
    /// The engine does not know the document.
    NoSuchDocument = "no-such-document", 404, "The engine does not know the document";
    /// A plain request on a route for WebSockets.
    UpgradeRequired = "upgrade-required", 426, "Only WebSockets are served here";
    /// The path gives a key that is too long to be kept.
    KeyTooLong = "key-too-long", 414, "The key in the path is too long";
    /// The account has reached its limit of sessions.
    TooManySessions = "too-many-sessions", 429, "The account has too many sessions";
    /// The session, or the account of the bearer token, has reached its limit of streams in the pool.
    TooManyStreams = "too-many-streams", 429, "The session has too many streams";
    /// The account has as many keys as the route allows.
    TooManyKeys = "too-many-keys", 429, "The account uses too many engines at once";
    /// The key has as many streams as the route allows.
    KeyFull = "key-full", 503, "Too many WebSockets share this engine";
    /// No engine is up.
    NoEngine = "no-engine", 503, "No engine is up";
    /// Engines are up, but none has capacity.
    EnginesFull = "engines-full", 503, "Every engine is full";
    /// The session store does not answer.
    StoreDown = "store-down", 503, "The session store does not answer";
    /// Another login service keeps the sessions, so this service cannot start or end one.
    ReadOnlyStore = "read-only-store", 501, "Sessions are kept by another login service";
    /// Every engine that was tried refused or did not respond.
    EngineFailed = "engine-failed", 503, "No engine took the session";
    /// A fault of the service itself; its log has the cause.
    Internal = "internal", 500, "The placement service failed";
}
