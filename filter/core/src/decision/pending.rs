//! The decision on a request after its call: what the placement service's response means, and what happens to the
//! requests that waited for it. The response of a token call serves every waiting request of its session; that of a
//! placement of a WebSocket serves one, that of a plain request every waiting request of its scope.

pub mod engine;

use crate::affinity::{EngineLookup, EngineRoute};
use crate::auth::jwt::Keys;
use crate::auth::token_cache::CachedToken;
use crate::auth::verification_cache::VerifiedClaims;
use crate::config::Config;
use crate::decision::effects::{CallError, HeaderMutation, LocalReply, SessionState, bearer};
use crate::decision::local_reply::{ClientKind, render};
use crate::decision::rejection::{RejectReason, Rejection, role_missing};
use crate::decision::response::{self, ValidatedResponse};
use crate::routing::{Action, LoginTimeout, MaxAge, Route, is_permitted};
use crate::streams::PlacedStream;
use berth_api::Problem;
use engine::PlacedRequest;
use std::rc::Rc;

/// What to do with a request after its call.
pub enum CallOutcome {
    /// Change the headers and forward it.
    Route {
        /// The headers of the route and the identity.
        mutations: Vec<HeaderMutation>,
        /// The session in the access log, if there is one.
        session_ref: Option<String>,
        /// Where it goes.
        target: Target,
    },
    /// Answer it.
    Reply(LocalReply),
}

/// Where a request goes after its call.
#[derive(Debug)]
pub enum Target {
    /// To an application.
    Application,
    /// To an engine, as a placed stream.
    Stream(PlacedStream),
    /// To an engine, as a plain request.
    Engine(PlacedRequest),
}

/// What a request calls for.
#[derive(Debug)]
pub enum Purpose {
    /// The token of its session.
    Token,
    /// An engine for a WebSocket.
    Stream,
    /// The engine of its key.
    Engine(EngineLookup),
}

/// The result of a token call: the same for all waiting requests of the session.
pub type TokenResult = Result<Rc<CachedToken>, Rejection>;

/// Validates the response of a token call and verifies its token. `has_ended` knows recently ended sessions.
///
/// # Errors
/// The rejection, which each request renders for its client.
pub fn token_result(
    keys: &Keys,
    has_ended: &dyn Fn(&str) -> bool,
    status: u16,
    body: &[u8],
) -> TokenResult {
    let (response, claims) =
        verified_response(keys, has_ended, status, body, response::validate_token)?;
    Ok(Rc::new(CachedToken {
        authorization: bearer(&response.token),
        session_ref: response.session_ref,
        expires_at: claims.expires_at.min(response.session_expires_at),
        roles: claims.roles,
    }))
}

impl From<CallError> for Rejection {
    fn from(error: CallError) -> Self {
        match error {
            CallError::ClusterMissing => RejectReason::ServiceClusterMissing.into(),
            CallError::Unreachable => RejectReason::ServiceUnreachable.into(),
        }
    }
}

/// A request that waits for a call.
#[derive(Debug)]
pub struct PendingRequest {
    route: Option<usize>,
    action: Action,
    purpose: Purpose,
    client: ClientKind,
    on_login_timeout: LoginTimeout,
    max_age: Option<MaxAge>,
    counts_stream: bool,
    roles: Rc<[String]>,
}

impl PendingRequest {
    /// `on_login_timeout`: what happens when the session has ended.
    pub(super) fn new(
        index: Option<usize>,
        route: &Route,
        client: ClientKind,
        purpose: Purpose,
        on_login_timeout: LoginTimeout,
    ) -> Self {
        Self {
            route: index,
            action: route.action,
            purpose,
            client,
            on_login_timeout,
            max_age: route.max_age,
            counts_stream: route.activity.counts_stream(),
            roles: Rc::clone(&route.roles),
        }
    }

    /// By what its engine is looked up, if it is a plain request to an engine.
    #[must_use]
    pub const fn lookup(&self) -> Option<&EngineLookup> {
        match &self.purpose {
            Purpose::Engine(lookup) => Some(lookup),
            Purpose::Token | Purpose::Stream => None,
        }
    }

    /// Completes a plain request with the engine of its key.
    #[must_use]
    pub fn route_to(self, config: &Config, route: &Rc<EngineRoute>) -> CallOutcome {
        match &self.purpose {
            Purpose::Engine(lookup) => engine::outcome(lookup, route, self.route),
            Purpose::Token | Purpose::Stream => self.refuse(config, RejectReason::Internal.into()),
        }
    }

    /// The call that the request waited for has no result for it.
    #[must_use]
    pub fn reject(self, config: &Config, rejection: Rejection) -> CallOutcome {
        self.refuse(config, rejection)
    }

    /// The request's own call has a response, of the placement service or of Envoy in its place.
    #[must_use]
    pub fn on_response(
        self,
        config: &Config,
        keys: &Keys,
        has_ended: &dyn Fn(&str) -> bool,
        status: u16,
        body: &[u8],
    ) -> CallOutcome {
        match &self.purpose {
            Purpose::Token => {
                return self.complete(config, &token_result(keys, has_ended, status, body));
            }
            Purpose::Engine(lookup) => {
                return match engine::result(keys, has_ended, lookup, status, body) {
                    Ok(answer) => self.route_to(config, &Rc::new(answer.route)),
                    Err(rejection) => self.refuse(config, rejection),
                };
            }
            Purpose::Stream => {}
        }
        let response =
            verified_response(keys, has_ended, status, body, response::validate_placement);
        let response = match response {
            Ok((response, _)) => response,
            Err(rejection) => return self.refuse(config, rejection),
        };
        let mut mutations = response.mutations;
        mutations.push(HeaderMutation::authorization(bearer(&response.token)));
        let (max_age, counts_activity) = (self.max_age, self.counts_stream);
        let placed = response.placed.map(|placed| PlacedStream {
            max_age,
            counts_activity,
            ..placed
        });
        CallOutcome::Route {
            mutations,
            session_ref: Some(response.session_ref),
            target: placed.map_or(Target::Application, Target::Stream),
        }
    }

    /// Completes the request with the token of its session.
    #[must_use]
    pub fn complete(self, config: &Config, result: &TokenResult) -> CallOutcome {
        let token = match result {
            Ok(token) => token,
            Err(rejection) if rejection.reason.requires_login() => {
                return self.login_timeout(config, rejection.clone());
            }
            Err(rejection) => return self.refuse(config, rejection.clone()),
        };
        if self.action == Action::Place {
            return self.refuse(config, RejectReason::UpgradeRequired.into());
        }
        if !is_permitted(&self.roles, &token.roles) {
            return self.refuse(config, role_missing());
        }
        let authorization = HeaderMutation::authorization(token.authorization.clone());
        let mutations = vec![authorization, SessionState::Live.header()];
        route(mutations, Some(token.session_ref.clone()))
    }

    /// The session has ended.
    fn login_timeout(self, config: &Config, rejection: Rejection) -> CallOutcome {
        match (self.on_login_timeout, &self.client) {
            // The headers have no credential any more: they were changed before the call.
            (LoginTimeout::Anonymous, _) => route(vec![SessionState::Expired.header()], None),
            (LoginTimeout::Refuse, ClientKind::Navigation(_)) => {
                let reply = render(config, &ClientKind::Api, rejection);
                CallOutcome::Reply(reply.for_route(self.route))
            }
            _ => self.refuse(config, rejection),
        }
    }

    /// The call has no response.
    #[must_use]
    pub fn on_error(self, config: &Config, error: CallError) -> CallOutcome {
        self.refuse(config, error.into())
    }

    fn refuse(self, config: &Config, rejection: Rejection) -> CallOutcome {
        CallOutcome::Reply(render(config, &self.client, rejection).for_route(self.route))
    }
}

const fn route(mutations: Vec<HeaderMutation>, session_ref: Option<String>) -> CallOutcome {
    CallOutcome::Route {
        mutations,
        session_ref,
        target: Target::Application,
    }
}

/// A valid response whose token is verified, and the token's claims.
pub(super) fn verified_response(
    keys: &Keys,
    has_ended: &dyn Fn(&str) -> bool,
    status: u16,
    body: &[u8],
    validate: impl Fn(&[u8]) -> Result<ValidatedResponse, &'static str>,
) -> Result<(ValidatedResponse, VerifiedClaims), Rejection> {
    if status != 200 {
        return Err(service_rejection(status, body));
    }
    let response = validate(body).map_err(|field| {
        Rejection::from(RejectReason::ServiceResponseInvalid).with_detail(format!("wrong: {field}"))
    })?;
    let claims = keys.verify(&response.token).map_err(|error| {
        Rejection::from(RejectReason::TokenInvalid).with_detail(error.to_string())
    })?;
    // The session ended while the response was in flight.
    if has_ended(&response.session_ref) {
        return Err(RejectReason::SessionExpired.into());
    }
    Ok((response, claims))
}

/// The meaning of a status other than 200: the service's own problem, or Envoy's response for a service that timed out
/// (504) or is unreachable (503).
fn service_rejection(status: u16, body: &[u8]) -> Rejection {
    if body.len() <= response::MAX_ANSWER_BYTES
        && let Ok(problem) = serde_json::from_slice::<Problem>(body)
    {
        return Rejection {
            reason: problem.reason.into(),
            detail: problem.detail,
            retry_after: problem.retry_after,
            anonymous_cookie: problem.anonymous_cookie,
        };
    }
    match status {
        504 => RejectReason::ServiceTimeout.into(),
        503 => RejectReason::ServiceUnreachable.into(),
        _ => Rejection::from(RejectReason::ServiceResponseInvalid)
            .with_detail(format!("status {status}")),
    }
}
