//! The decision on one request, from its headers to its route or its refusal. [`decide`] makes the first decision. Only
//! [`Decision::Call`] leaves state behind, a [`PendingRequest`], which is consumed by the result of the call, so a
//! request cannot be resumed twice. Knows no host: the host carries out what is decided here.

mod calls;
pub mod effects;
pub mod engine_response;
mod forwarded_headers;
pub mod local_reply;
mod page;
pub mod pending;
mod preflight;
pub mod rejection;
pub mod response;

use crate::auth::jwt::{Keys, TokenError};
use crate::auth::verification_cache::VerifiedClaims;
use crate::config::Config;
use crate::decision::calls::CallCredential;
use crate::decision::effects::{Callout, HeaderMutation, LocalReply, SessionState, bearer};
use crate::decision::forwarded_headers::{
    complete_handshake, keep_path, remove_cookie, remove_headers,
};
use crate::decision::local_reply::{ClientKind, render};
use crate::decision::pending::{PendingRequest, Purpose};
use crate::decision::rejection::{RejectReason, Rejection};
use crate::request::cookie::CookieError;
use crate::request::origin::{self, Origin};
use crate::request::path::has_escaped_separator;
use crate::request::{Header, Request, WebSocketVersion, bearer as bearer_header, cookie};
use crate::routing::{self, Action, LoginTimeout, Route};

/// The first decision on a request, and its route.
pub struct RoutedDecision {
    /// The index of the matching route, if there is one.
    pub route: Option<usize>,
    /// What to do.
    pub decision: Decision,
}

/// What to do with a request after its headers.
pub enum Decision {
    /// Change the headers and forward it.
    Pass(Vec<HeaderMutation>),
    /// Change the headers, call the placement service, and pause the request.
    Call {
        /// Applied before the call.
        mutations: Vec<HeaderMutation>,
        /// The call.
        callout: Callout,
        /// Takes the response.
        pending: Box<PendingRequest>,
    },
    /// Answer it.
    Reply(LocalReply),
    /// Answer it with 204 and these headers: a preflight.
    Preflight(Vec<(&'static str, String)>),
}

/// The worker that decides.
#[derive(Clone, Copy, Debug)]
pub struct Worker<'a> {
    /// Its name as a gateway.
    pub gateway: &'a str,
    /// It refuses new WebSockets.
    pub draining: bool,
}

/// Decides on a request by its headers.
pub fn decide<'a>(
    config: &Config,
    keys: &Keys,
    worker: Worker<'_>,
    headers: impl Iterator<Item = Header<'a>>,
) -> RoutedDecision {
    let refuse = |route, client: &ClientKind, rejection: Rejection| RoutedDecision {
        route,
        decision: Decision::Reply(render(config, client, rejection).for_route(route)),
    };
    let request = match Request::read(headers, &config.strip_headers) {
        Ok(request) => request,
        Err(detail) => {
            let rejection = Rejection::from(RejectReason::BadRequest).with_detail(detail);
            return refuse(None, &ClientKind::Api, rejection);
        }
    };
    let found = routing::find(&config.routes, request.authority, request.path);
    let client = ClientKind::classify(
        &request,
        &config.api_prefixes,
        found.map(|(_, route)| route),
    );
    let Some((nth, route)) = found else {
        return refuse(None, &client, RejectReason::NoRoute.into());
    };
    let index = Some(nth);
    if let Err(rejection) = check_form(&request, route) {
        return refuse(index, &client, rejection);
    }
    let pass_through = |mutations| RoutedDecision {
        route: index,
        decision: Decision::Pass(mutations),
    };
    let mut mutations = Vec::new();
    remove_headers(&request.spoofed, &mut mutations);
    if request.upgrade {
        complete_handshake(request.handshake, &mut mutations);
    }
    if route.action == Action::Bypass {
        return pass_through(mutations);
    }
    // A WebSocket of such a route is not a placed stream: it would outlive its session.
    if request.upgrade && route.action == Action::Authenticate {
        return refuse(index, &client, RejectReason::UpgradeRefused.into());
    }
    if worker.draining && request.upgrade {
        return refuse(index, &client, RejectReason::GatewayDraining.into());
    }
    let is_plain = !request.upgrade && route.action == Action::Place && route.plain_http;
    if is_plain && preflight::is_preflight(&request, &config.cookie) {
        let decision = match preflight::answer(&request, &config.origins) {
            Ok(headers) => Decision::Preflight(headers),
            Err(reason) => return refuse(index, &client, reason.into()),
        };
        return RoutedDecision {
            route: index,
            decision,
        };
    }
    let credential = match authenticate(config, keys, &request, route) {
        Ok(credential) => credential,
        Err(rejection) => return refuse(index, &client, rejection),
    };
    remove_cookie(&request.cookies, &config.cookie, &mut mutations);
    if route.action == Action::Place {
        remove_headers(&request.spoofed_for_engines, &mut mutations);
        keep_path(request.path, &mut mutations);
    }
    let mut purpose = Purpose::Token;
    let callout = match (route.action, credential.for_call()) {
        (Action::Place, Some(credential)) if request.upgrade => {
            purpose = Purpose::Stream;
            calls::placement(worker.gateway, &request, credential)
        }
        (Action::Place, Some(credential)) if is_plain => {
            let lookup = calls::engine_lookup(config, &request, route, nth, credential);
            purpose = Purpose::Engine(lookup);
            calls::placement(worker.gateway, &request, credential)
        }
        (Action::Place, None | Some(CallCredential::Token(_))) => {
            Err(RejectReason::UpgradeRequired)
        }
        (_, Some(call_credential)) if !matches!(credential, Credential::Bearer(_)) => {
            calls::token(config, &request, call_credential)
        }
        _ => {
            if let Credential::Bearer(token) = credential {
                mutations.push(HeaderMutation::authorization(bearer(token)));
            }
            mutations.push(SessionState::None.header());
            return pass_through(mutations);
        }
    };
    let callout = match callout {
        Ok(callout) => callout,
        Err(reason) => return refuse(index, &client, reason.into()),
    };
    // Only a stale cookie may fall back to anonymous; a request that presented a bearer token never does.
    let on_login_timeout = match credential {
        Credential::Cookie(_) => route.on_login_timeout,
        _ => LoginTimeout::Login,
    };
    let pending = PendingRequest::new(index, route, client, purpose, on_login_timeout);
    let decision = Decision::Call {
        mutations,
        callout,
        pending: Box::new(pending),
    };
    RoutedDecision {
        route: index,
        decision,
    }
}

/// Whether a request may come from a page of its origin.
fn is_origin_allowed(request: &Request<'_>, listed: &[Origin]) -> bool {
    let own_origin = Origin::from_parts(request.scheme, request.authority);
    origin::is_allowed(request.origin, own_origin.as_ref(), listed)
}

/// Checks what a route requires of the form of its requests.
fn check_form(request: &Request<'_>, route: &Route) -> Result<(), Rejection> {
    if has_escaped_separator(request.path) && !route.takes_documents() {
        let detail = "Only the name of a document may contain an escaped slash or backslash.";
        return Err(Rejection::from(RejectReason::BadRequest).with_detail(detail));
    }
    if request.upgrade && request.handshake.version == WebSocketVersion::Unsupported {
        return Err(RejectReason::WebSocketVersion.into());
    }
    Ok(())
}

/// The credential of a request.
#[derive(Clone, Copy)]
enum Credential<'a> {
    /// A login cookie, which the service has to look up.
    Cookie(&'a str),
    /// A verified token of the client's own.
    Bearer(&'a str),
    /// A verified token of a session; the service has to confirm that the session lives.
    SessionBearer(&'a str),
    /// None, on a route that allows it.
    Anonymous,
}

impl<'a> Credential<'a> {
    /// The credential of a call to the service; `None`: there is none.
    const fn for_call(self) -> Option<CallCredential<'a>> {
        match self {
            Self::Cookie(session) => Some(CallCredential::Session(session)),
            Self::Bearer(token) | Self::SessionBearer(token) => Some(CallCredential::Token(token)),
            Self::Anonymous => None,
        }
    }
}

/// Finds the credential of a request and verifies what can be verified here. On a route with `bearer`, a token has
/// precedence over the cookie even when it is invalid, since the client sent it on purpose.
fn authenticate<'a>(
    config: &Config,
    keys: &Keys,
    request: &Request<'a>,
    route: &Route,
) -> Result<Credential<'a>, Rejection> {
    // A browser sends cookies with requests that pages of other origins make.
    let is_forgeable = request.upgrade || route.plain_http && !request.has_safe_method();
    if is_forgeable && !is_origin_allowed(request, &config.origins) {
        return Err(RejectReason::OriginDenied.into());
    }
    if route.bearer {
        let invalid = |detail| Rejection::from(RejectReason::BearerInvalid).with_detail(detail);
        if let Some(token) = bearer_header::find(&request.authorizations).map_err(invalid)? {
            return verify_bearer(keys, token, route);
        }
    }
    let session = match cookie::find(&request.cookies, &config.cookie) {
        Ok(Some(session)) => session,
        Ok(None) if route.anonymous => return Ok(Credential::Anonymous),
        Ok(None) => return Err(RejectReason::NoSession.into()),
        Err(CookieError::Duplicate) => return Err(RejectReason::CookieDuplicate.into()),
        Err(CookieError::TooLong) => return Err(RejectReason::CookieTooLong.into()),
        Err(CookieError::Malformed) => return Err(RejectReason::CookieMalformed.into()),
    };
    if keys.is_empty() {
        return Err(RejectReason::NotConfigured.into());
    }
    Ok(Credential::Cookie(session))
}

fn verify_bearer<'a>(
    keys: &Keys,
    token: &'a str,
    route: &Route,
) -> Result<Credential<'a>, Rejection> {
    if keys.is_empty() {
        return Err(RejectReason::NotConfigured.into());
    }
    let invalid = |error: TokenError| {
        Rejection::from(RejectReason::BearerInvalid).with_detail(error.to_string())
    };
    let VerifiedClaims {
        has_session, roles, ..
    } = keys.verify(token).map_err(invalid)?;
    if !routing::is_permitted(&route.roles, &roles) {
        return Err(rejection::role_missing());
    }
    Ok(if has_session {
        Credential::SessionBearer(token)
    } else {
        Credential::Bearer(token)
    })
}
