//! Every reason to reject a request: one table from the reason to status, log level and title. The reasons of the
//! placement service are part of it, so clients see one vocabulary. Knows no header and no host.

use berth_api::RejectReason as ServiceReason;
use log::Level;

macro_rules! reasons {
    (
        own { $($(#[$doc:meta])* $name:ident = $reason:literal, $status:literal, $level:ident, $title:literal;)+ }
        service { $($(#[$service_doc:meta])* $service_name:ident = $service_level:ident;)+ }
    ) => {
        /// Why a request is rejected.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RejectReason {
            $($(#[$doc])* $name,)+
            $($(#[$service_doc])* $service_name,)+
        }

        impl RejectReason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$name,)+ $(Self::$service_name,)+];

            /// The constant in problem bodies, metrics and logs.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $reason,)+
                    $(Self::$service_name => ServiceReason::$service_name.as_str(),)+
                }
            }

            /// The HTTP status; [`local_reply`](super::local_reply) has another one for clients that must log in.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)+
                    $(Self::$service_name => ServiceReason::$service_name.status(),)+
                }
            }

            /// The level at which it is logged: `Debug` for normal operation, `Info` for client errors and limits,
            /// `Warn` for what an operator should know, `Error` for what an operator must repair.
            #[must_use]
            pub const fn level(self) -> Level {
                match self {
                    $(Self::$name => Level::$level,)+
                    $(Self::$service_name => Level::$service_level,)+
                }
            }

            /// One short sentence for people.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)+
                    $(Self::$service_name => ServiceReason::$service_name.title(),)+
                }
            }
        }

        impl From<ServiceReason> for RejectReason {
            fn from(reason: ServiceReason) -> Self {
                match reason { $(ServiceReason::$service_name => Self::$service_name,)+ }
            }
        }
    };
}

reasons! {
    own {
        /// The filter has no valid configuration, or no key yet to verify tokens.
        NotConfigured = "not-configured", 503, Error, "The gateway is not ready";
        /// The head of the request is malformed.
        BadRequest = "bad-request", 400, Info, "The request is malformed";
        /// No route matches the path.
        NoRoute = "no-route", 404, Debug, "There is nothing at this path";
        /// A page of another origin opened a WebSocket.
        OriginDenied = "origin-denied", 403, Info, "Pages of this origin may not connect";
        /// The login cookie occurs twice.
        CookieDuplicate = "cookie-duplicate", 400, Info, "There is more than one login cookie";
        /// The login cookie has more than 128 bytes.
        CookieTooLong = "cookie-too-long", 400, Info, "The login cookie is too long";
        /// The login cookie has bytes that no cookie may have.
        CookieMalformed = "cookie-malformed", 400, Info, "The login cookie is malformed";
        /// The client requests another version of the WebSocket protocol than 13.
        WebSocketVersion = "websocket-version", 426, Info, "Only version 13 of the WebSocket protocol is supported";
        /// A WebSocket on a route without placement.
        UpgradeRefused = "upgrade-refused", 403, Info, "No WebSockets are served here";
        /// An operator drains this Envoy, and has it refuse new WebSockets.
        GatewayDraining = "gateway-draining", 503, Info, "This gateway is drained. Connect again";
        /// The placement service is unreachable.
        ServiceUnreachable = "service-unreachable", 503, Error, "The placement service cannot be reached";
        /// The placement service did not respond in time.
        ServiceTimeout = "service-timeout", 504, Error, "The placement service did not answer in time";
        /// Envoy has no cluster of the configured name.
        ServiceClusterMissing = "service-cluster-missing", 503, Error, "The gateway does not know the placement service";
        /// The response of the placement service is invalid.
        ServiceResponseInvalid = "service-response-invalid", 502, Error, "The placement service's response is invalid";
        /// The token of the placement service fails verification.
        TokenInvalid = "token-invalid", 502, Error, "The session's token is invalid";
    }
    // Their constants, statuses and titles are in the contract.
    service {
        /// The service found the call malformed.
        InvalidRequest = Warn;
        /// The service does not accept this gateway.
        UnknownGateway = Error;
        /// There is no login cookie.
        NoSession = Debug;
        /// The login cookie names no session.
        UnknownSession = Debug;
        /// The session has expired.
        SessionExpired = Debug;
        /// The client's own token fails verification, in the filter or in the service.
        BearerInvalid = Info;
        /// The session has no permission.
        Forbidden = Info;
        /// The service has no route for the path.
        NoSuchRoute = Info;
        /// The engine does not have the document.
        NoSuchDocument = Info;
        /// A request without an upgrade on a route for WebSockets.
        UpgradeRequired = Debug;
        /// The path gives a key that is too long.
        KeyTooLong = Info;
        /// The account has its maximum of sessions.
        TooManySessions = Info;
        /// The session, or the account of a bearer token, has its maximum of WebSockets.
        TooManyStreams = Info;
        /// The account has its maximum of keys.
        TooManyKeys = Info;
        /// The key has its maximum of WebSockets.
        KeyFull = Info;
        /// No engine is up.
        NoEngine = Error;
        /// No engine has capacity.
        EnginesFull = Warn;
        /// The session store does not respond.
        StoreDown = Error;
        /// Another login service owns the sessions.
        ReadOnlyStore = Error;
        /// Every attempted engine failed.
        EngineFailed = Error;
        /// The service has an internal error.
        Internal = Error;
    }
}

impl RejectReason {
    /// Whether the client could succeed after a login.
    #[must_use]
    pub const fn requires_login(self) -> bool {
        matches!(
            self,
            Self::NoSession | Self::UnknownSession | Self::SessionExpired
        )
    }

    /// Whether the login cookie cannot be read, such as one of other software. A login replaces it.
    #[must_use]
    pub const fn is_unreadable_cookie(self) -> bool {
        matches!(
            self,
            Self::CookieDuplicate | Self::CookieTooLong | Self::CookieMalformed
        )
    }

    /// Whether the call failed: there is no valid response of the placement service.
    #[must_use]
    pub const fn is_callout_failure(self) -> bool {
        matches!(
            self,
            Self::ServiceUnreachable
                | Self::ServiceTimeout
                | Self::ServiceClusterMissing
                | Self::ServiceResponseInvalid
        )
    }
}

/// A reason with its details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason.
    pub reason: RejectReason,
    /// What exactly was wrong. Goes to the client and into the log, so it is never a secret.
    pub detail: Option<String>,
    /// Seconds until a retry is useful.
    pub retry_after: Option<u32>,
    /// A `Set-Cookie` value that is sent with a 440.
    pub anonymous_cookie: Option<String>,
}

impl Rejection {
    /// Adds what exactly was wrong.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl From<RejectReason> for Rejection {
    fn from(reason: RejectReason) -> Self {
        let is_brief = matches!(
            reason,
            RejectReason::ServiceUnreachable | RejectReason::GatewayDraining
        );
        Self {
            reason,
            detail: None,
            retry_after: is_brief.then_some(1),
            anonymous_cookie: None,
        }
    }
}

/// The account has none of the roles that the route needs. The roles are not named: a client need not know them.
#[must_use]
pub fn role_missing() -> Rejection {
    let detail = "the account has none of the roles of this path";
    Rejection::from(RejectReason::Forbidden).with_detail(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn reasons_of_the_service_keep_name_status_and_title() {
        for of_service in ServiceReason::ALL {
            let reason = RejectReason::from(*of_service);
            assert_eq!(reason.as_str(), of_service.as_str());
            assert_eq!(reason.status(), of_service.status());
            assert_eq!(reason.title(), of_service.title());
        }
    }

    #[test]
    fn reasons_are_unique_constants() {
        for reason in RejectReason::ALL {
            let has_same_name = |other: &&RejectReason| other.as_str() == reason.as_str();
            assert_eq!(RejectReason::ALL.iter().filter(has_same_name).count(), 1);
            let kebab = |b: u8| b.is_ascii_lowercase() || b == b'-';
            assert!(reason.as_str().bytes().all(kebab));
            assert!((400..600).contains(&reason.status()));
        }
    }
}
