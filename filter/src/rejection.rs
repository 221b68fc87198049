//! Every refusal there is: ONE table from cause to status, log level and words. The placement
//! service's reasons are rows of it, so a client sees one vocabulary. Knows no header and no host.

use berth_api::Reason;

/// How loudly a refusal is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Part of normal life: a client without a session.
    Debug,
    /// A client that does what it should not, or a limit that does its work.
    Info,
    /// Something that an operator should know.
    Warn,
    /// Something that an operator must repair.
    Error,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $reason:literal, $status:literal, $level:ident, $title:literal;)+) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause {
            $($(#[$doc])* $name,)+
        }

        impl Cause {
            /// Every cause, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The constant for programs: problem body, metric label, log.
            #[must_use]
            pub const fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)+ }
            }

            /// The HTTP status, unless S14 to S17 ask for another.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// How loudly it is logged.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$name => Level::$level,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

causes! {
    // The filter's own.
    /// The filter has no sound configuration, or no key yet to check tokens with.
    NotConfigured = "not-configured", 503, Error, "The gateway is not ready.";
    /// No request that can be decided on.
    BadRequest = "bad-request", 400, Info, "The request is malformed.";
    /// No route takes the path.
    NoRoute = "no-route", 404, Debug, "There is nothing at this path.";
    /// A page of another origin wanted a WebSocket.
    OriginDenied = "origin-denied", 403, Info, "Pages of this origin may not connect.";
    /// Two login cookies.
    CookieDuplicate = "cookie-duplicate", 400, Info, "There is more than one login cookie.";
    /// A login cookie over 128 bytes.
    CookieTooLong = "cookie-too-long", 400, Info, "The login cookie is too long.";
    /// A login cookie with bytes that no cookie may have.
    CookieMalformed = "cookie-malformed", 400, Info, "The login cookie is malformed.";
    /// A plain request where only a WebSocket makes sense.
    UpgradeRequired = "upgrade-required", 426, Debug, "Only WebSockets are served here.";
    /// A WebSocket where nobody would look after it.
    UpgradeRefused = "upgrade-refused", 403, Info, "No WebSockets are served here.";
    /// The placement service cannot be reached.
    ServiceUnreachable = "service-unreachable", 503, Error, "The placement service cannot be reached.";
    /// The placement service took too long.
    ServiceTimeout = "service-timeout", 504, Error, "The placement service did not answer in time.";
    /// Envoy has no cluster of the configured name.
    ServiceClusterMissing = "service-cluster-missing", 503, Error, "The gateway does not know the placement service.";
    /// The placement service answered what makes no sense.
    ServiceAnswerInvalid = "service-answer-invalid", 502, Error, "The placement service's answer is invalid.";
    /// The placement service's token does not pass the check.
    TokenInvalid = "token-invalid", 502, Error, "The session's token is invalid.";
    // The placement service's, as the contract has them.
    /// The service found the filter's call malformed.
    InvalidRequest = "invalid-request", 400, Warn, "The placement service refused the request.";
    /// The service does not know this gateway.
    UnknownGateway = "unknown-gateway", 403, Error, "The placement service does not know this gateway.";
    /// No login cookie.
    NoSession = "no-session", 401, Debug, "Log in first.";
    /// A login cookie that names no session.
    UnknownSession = "unknown-session", 401, Debug, "The session is unknown. Log in again.";
    /// A session that ended by time.
    SessionExpired = "session-expired", 440, Debug, "The session has expired. Log in again.";
    /// A program's own token that does not pass the check, here or there.
    BearerInvalid = "bearer-invalid", 401, Info, "The bearer token is invalid.";
    /// The session may not do this.
    Forbidden = "forbidden", 403, Info, "This session may not do that.";
    /// The service has no route for the path.
    NoSuchRoute = "no-such-route", 404, Info, "There is nothing at this path.";
    /// The engine does not know the document.
    NoSuchDocument = "no-such-document", 404, Info, "There is no such document.";
    /// The account has as many sessions as it may.
    TooManySessions = "too-many-sessions", 429, Info, "There are too many sessions of this account.";
    /// The session, or the program's account, has as many WebSockets as it may.
    TooManyStreams = "too-many-streams", 429, Info, "There are too many WebSockets of this session.";
    /// No engine is up.
    NoEngine = "no-engine", 503, Error, "No engine is up.";
    /// No engine has room.
    EnginesFull = "engines-full", 503, Warn, "Every engine is full.";
    /// The session store does not answer.
    StoreDown = "store-down", 503, Error, "Sessions cannot be looked up at present.";
    /// Sessions are kept by another login service.
    ReadOnlyStore = "read-only-store", 501, Error, "Sessions are kept elsewhere.";
    /// Every engine that was tried failed.
    EngineFailed = "engine-failed", 503, Error, "No engine took the session.";
    /// A fault of the service itself.
    Internal = "internal", 500, Error, "The placement service has a fault.";
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::InvalidRequest => Self::InvalidRequest,
            Reason::UnknownGateway => Self::UnknownGateway,
            Reason::NoSession => Self::NoSession,
            Reason::UnknownSession => Self::UnknownSession,
            Reason::SessionExpired => Self::SessionExpired,
            Reason::BearerInvalid => Self::BearerInvalid,
            Reason::Forbidden => Self::Forbidden,
            Reason::NoSuchRoute => Self::NoSuchRoute,
            Reason::NoSuchDocument => Self::NoSuchDocument,
            Reason::TooManySessions => Self::TooManySessions,
            Reason::TooManyStreams => Self::TooManyStreams,
            Reason::NoEngine => Self::NoEngine,
            Reason::EnginesFull => Self::EnginesFull,
            Reason::StoreDown => Self::StoreDown,
            Reason::ReadOnlyStore => Self::ReadOnlyStore,
            Reason::EngineFailed => Self::EngineFailed,
            Reason::Internal => Self::Internal,
        }
    }
}

impl Cause {
    /// Whether a login would help.
    #[must_use]
    pub const fn wants_login(self) -> bool {
        matches!(
            self,
            Self::NoSession | Self::UnknownSession | Self::SessionExpired
        )
    }

    /// Whether the placement service could not be asked, or gave no answer of its own.
    #[must_use]
    pub const fn is_callout_failure(self) -> bool {
        matches!(
            self,
            Self::ServiceUnreachable
                | Self::ServiceTimeout
                | Self::ServiceClusterMissing
                | Self::ServiceAnswerInvalid
        )
    }
}

/// One refusal on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The row of the table.
    pub cause: Cause,
    /// What exactly was wrong. Goes to the client and into the log: never a secret.
    pub detail: Option<String>,
    /// Seconds until a retry makes sense.
    pub retry_after: Option<u32>,
    /// A whole `Set-Cookie` value that goes along with a 440 (S18).
    pub anonymous_cookie: Option<String>,
}

impl Rejection {
    /// Says what exactly was wrong.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<Cause> for Rejection {
    fn from(cause: Cause) -> Self {
        Self {
            cause,
            detail: None,
            retry_after: (cause == Cause::ServiceUnreachable).then_some(1),
            anonymous_cookie: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_services_reasons_keep_their_name_and_status() {
        for reason in Reason::ALL {
            let cause = Cause::from(*reason);
            assert_eq!(cause.reason(), reason.as_str());
            assert_eq!(cause.status(), reason.status());
        }
    }

    #[test]
    fn reasons_are_unique_constants() {
        for cause in Cause::ALL {
            let same = Cause::ALL.iter().filter(|c| c.reason() == cause.reason());
            assert_eq!(same.count(), 1);
            let kebab = |b: u8| b.is_ascii_lowercase() || b == b'-';
            assert!(cause.reason().bytes().all(kebab));
            assert!((400..600).contains(&cause.status()));
        }
    }
}
