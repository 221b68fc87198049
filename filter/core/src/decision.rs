//! The decision on one request, from its headers to its route or its refusal. [`decide`] makes the first decision. Only
//! [`Decision::Call`] leaves state behind, a [`PendingRequest`], which is consumed by the result of the call, so a
//! request cannot be resumed twice. Knows no host: the host carries out what is decided here.

pub mod effects;
mod forwarded_headers;
pub mod local_reply;
mod page;
pub mod pending;
pub mod rejection;
pub mod response;

use crate::auth::jwt::{Keys, TokenError};
use crate::auth::token_cache::CacheKey;
use crate::auth::verification_cache::VerifiedClaims;
use crate::config::Config;
use crate::decision::effects::{Callout, HeaderMutation, LocalReply, SessionState, bearer};
use crate::decision::forwarded_headers::{
    complete_handshake, keep_path, remove_cookie, remove_headers,
};
use crate::decision::local_reply::{ClientKind, render};
use crate::decision::pending::PendingRequest;
use crate::decision::rejection::{RejectReason, Rejection};
use crate::request::cookie::CookieError;
use crate::request::origin::{self, Origin};
use crate::request::path::has_escaped_separator;
use crate::request::{Header, Request, WebSocketVersion, bearer as bearer_header, cookie};
use crate::routing::{self, Action, LoginTimeout, Route};
use berth_api::{PLACEMENTS_PATH, PlacementRequest, TOKENS_PATH, TokenRequest};
use serde::Serialize;

/// Maximum bytes of the client's name for a tab.
const MAX_TAB_BYTES: usize = 64;

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
        pending: PendingRequest,
    },
    /// Answer it.
    Reply(LocalReply),
}

/// Decides on a request by its headers. `draining`: this gateway refuses new WebSockets.
pub fn decide<'a>(
    config: &Config,
    keys: &Keys,
    draining: bool,
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
    let found = routing::find(&config.routes, request.path);
    let client = ClientKind::classify(
        &request,
        &config.api_prefixes,
        found.map(|(_, route)| route),
    );
    let Some((index, route)) = found else {
        return refuse(None, &client, RejectReason::NoRoute.into());
    };
    let index = Some(index);
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
    if draining && request.upgrade {
        return refuse(index, &client, RejectReason::GatewayDraining.into());
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
    let callout = match (route.action, credential) {
        (Action::Place, Credential::Cookie(session)) if request.upgrade => {
            placement_call(&request, Some(session), None)
        }
        (Action::Place, Credential::Bearer(token) | Credential::SessionBearer(token))
            if request.upgrade =>
        {
            placement_call(&request, None, Some(token))
        }
        (_, Credential::Cookie(session)) => session_call(config, session),
        (Action::Place, _) => Err(RejectReason::UpgradeRequired),
        (_, Credential::SessionBearer(token)) => bearer_call(config, token),
        (_, Credential::Bearer(token)) => {
            mutations.push(HeaderMutation::authorization(bearer(token)));
            mutations.push(SessionState::None.header());
            return pass_through(mutations);
        }
        (_, Credential::Anonymous) => {
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
    let pending = PendingRequest::new(index, route, client, on_login_timeout);
    let decision = Decision::Call {
        mutations,
        callout,
        pending,
    };
    RoutedDecision {
        route: index,
        decision,
    }
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

/// Finds the credential of a request and verifies what can be verified here. On a route with `bearer`, a token has
/// precedence over the cookie even when it is invalid, since the client sent it on purpose.
fn authenticate<'a>(
    config: &Config,
    keys: &Keys,
    request: &Request<'a>,
    route: &Route,
) -> Result<Credential<'a>, Rejection> {
    if request.upgrade {
        let own_origin = Origin::from_parts(request.scheme, request.authority);
        if !origin::is_allowed(request.origin, own_origin.as_ref(), &config.origins) {
            return Err(RejectReason::OriginDenied.into());
        }
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

/// Requests an engine, by a session or by a token.
fn placement_call(
    request: &Request<'_>,
    session: Option<&str>,
    token: Option<&str>,
) -> Result<Callout, RejectReason> {
    let body = json(&PlacementRequest {
        session: session.map(str::to_owned),
        token: token.map(str::to_owned),
        gateway: None,
        method: request.method.to_owned(),
        upgrade: true,
        path: request.path.to_owned(),
        host: request.authority.to_owned(),
        tab: tab(request.path),
    })?;
    Ok(Callout {
        path: PLACEMENTS_PATH,
        body,
        shared: None,
    })
}

/// Requests the token of a session.
fn session_call(config: &Config, session: &str) -> Result<Callout, RejectReason> {
    let request = TokenRequest {
        session: Some(session.to_owned()),
        token: None,
    };
    token_call(config, &request, || CacheKey::from_cookie(session))
}

/// Asks whether the session of a token lives.
fn bearer_call(config: &Config, token: &str) -> Result<Callout, RejectReason> {
    let request = TokenRequest {
        session: None,
        token: Some(token.to_owned()),
    };
    token_call(config, &request, || CacheKey::from_token(token))
}

fn token_call(
    config: &Config,
    request: &TokenRequest,
    key: impl FnOnce() -> CacheKey,
) -> Result<Callout, RejectReason> {
    Ok(Callout {
        path: TOKENS_PATH,
        body: json(request)?,
        shared: (config.cache.entries > 0).then(key),
    })
}

/// Strings always serialize; the error only avoids a panic.
fn json(body: &impl Serialize) -> Result<Vec<u8>, RejectReason> {
    serde_json::to_vec(body).map_err(|_| RejectReason::Internal)
}

/// The client's name for its tab: `berth_tab` in the query. `None` unless it consists of unreserved characters.
fn tab(path: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    let tab = query
        .split('&')
        .find_map(|p| p.strip_prefix("berth_tab="))?;
    let is_unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    ((1..=MAX_TAB_BYTES).contains(&tab.len()) && tab.bytes().all(is_unreserved))
        .then(|| tab.to_owned())
}
