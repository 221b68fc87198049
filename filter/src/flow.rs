//! One request from its headers to its route or its refusal. A state machine that consumes itself:
//! [`start`] gives the first step, and only a [`Step::Call`] leaves something behind, [`Waiting`],
//! which takes the callout's end, or that of another request of the session, exactly once. The host obeys and decides nothing.

mod waiting;

pub use waiting::{Verdict, Waiting, verdict};

use crate::bearer;
use crate::cache::Key;
use crate::config::Config;
use crate::cookie::{self, CookieFault, Without};
use crate::origin::{self, Origin};
use crate::presentation::{Asker, present};
use crate::rejection::{Cause, Rejection};
use crate::request::{Handshake, Header, Request};
use crate::route::{self, Action, Route};
use crate::step::{Callout, Change, Start, Step};
use crate::token::{Keys, TokenFault};
use crate::verified::Good;
use berth_api::{PLACEMENTS_PATH, PlacementRequest, TOKENS_PATH, TokenRequest};
use serde::Serialize;

/// Bytes of a tab's name at the most.
const MAX_TAB_BYTES: usize = 64;

/// Decides on a request by its headers.
pub fn start<'a>(config: &Config, keys: &Keys, headers: impl Iterator<Item = Header<'a>>) -> Start {
    let refuse = |route, asker: &Asker, rejection: Rejection| Start {
        route,
        step: Step::Reply(present(config, asker, rejection).at(route)),
    };
    let request = match Request::read(headers, &config.trust_headers) {
        Ok(request) => request,
        Err(detail) => {
            let rejection = Rejection::from(Cause::BadRequest).with_detail(detail);
            return refuse(None, &Asker::Program, rejection);
        }
    };
    let asker = Asker::of(&request, &config.api_prefixes);
    let Some((at, route)) = route::find(&config.routes, request.path) else {
        return refuse(None, &asker, Cause::NoRoute.into());
    };
    let at = Some(at);
    let mut changes: Vec<Change> = request
        .forged
        .iter()
        .map(|name| Change::Remove((*name).to_owned()))
        .collect();
    if request.upgrade {
        complete_handshake(request.handshake, &mut changes);
    }
    if route.action == Action::Bypass {
        let step = Step::Pass(changes);
        return Start { route: at, step };
    }
    // Nobody would look after it: it would outlive its session.
    if request.upgrade && route.action == Action::Authenticate {
        return refuse(at, &asker, Cause::UpgradeRefused.into());
    }
    let who = match who(config, keys, &request, route) {
        Ok(who) => who,
        Err(rejection) => return refuse(at, &asker, rejection),
    };
    take_off_cookie(&request.cookies, &config.cookie, &mut changes);
    let callout = match (route.action, who) {
        (Action::Place, Who::Session(session)) if request.upgrade => {
            placement_call(&request, Some(session), None)
        }
        (Action::Place, Who::Bearer(token) | Who::SessionBearer(token)) if request.upgrade => {
            placement_call(&request, None, Some(token))
        }
        (_, Who::Session(session)) => session_call(config, session),
        (Action::Place, _) => Err(Cause::UpgradeRequired),
        (_, Who::SessionBearer(token)) => bearer_call(config, token),
        (_, Who::Bearer(token)) => {
            changes.push(authorization(bearer_of(token)));
            let step = Step::Pass(changes);
            return Start { route: at, step };
        }
        (_, Who::Nobody) => {
            let step = Step::Pass(changes);
            return Start { route: at, step };
        }
    };
    let callout = match callout {
        Ok(callout) => callout,
        Err(cause) => return refuse(at, &asker, cause.into()),
    };
    // Who has said who he is does not go on as nobody.
    let anonymous = route.anonymous && matches!(who, Who::Session(_));
    let waiting = Waiting::new(at, route, asker, anonymous);
    let step = Step::Call {
        changes,
        callout,
        waiting,
    };
    Start { route: at, step }
}

/// Who a request says that it comes from.
#[derive(Clone, Copy)]
enum Who<'a> {
    /// Somebody with a login cookie, still to be looked up.
    Session(&'a str),
    /// A program with a token of its own, which has been verified.
    Bearer(&'a str),
    /// The same, with a token of a session: good only while that lives, which is still to be asked for.
    SessionBearer(&'a str),
    /// Nobody, where that is allowed.
    Nobody,
}

/// Who a request comes from, if it may ask for anything at all. Where a route takes tokens, a token counts and
/// the cookie beside it does not, whether the token is good or not: who sends one means it.
fn who<'a>(
    config: &Config,
    keys: &Keys,
    request: &Request<'a>,
    route: &Route,
) -> Result<Who<'a>, Rejection> {
    if request.upgrade {
        let own = Origin::of(request.scheme, request.authority);
        if !origin::allowed(request.origin, own.as_ref(), &config.origins) {
            return Err(Cause::OriginDenied.into());
        }
    }
    if route.bearer {
        let invalid = |detail| Rejection::from(Cause::BearerInvalid).with_detail(detail);
        if let Some(token) = bearer::find(&request.authorizations).map_err(invalid)? {
            return verified(keys, token);
        }
    }
    let session = match cookie::find(&request.cookies, &config.cookie) {
        Ok(Some(session)) => session,
        Ok(None) if route.anonymous => return Ok(Who::Nobody),
        Ok(None) => return Err(Cause::NoSession.into()),
        Err(CookieFault::Duplicate) => return Err(Cause::CookieDuplicate.into()),
        Err(CookieFault::TooLong) => return Err(Cause::CookieTooLong.into()),
        Err(CookieFault::Malformed) => return Err(Cause::CookieMalformed.into()),
    };
    if keys.is_empty() {
        return Err(Cause::NotConfigured.into());
    }
    Ok(Who::Session(session))
}

fn verified<'a>(keys: &Keys, token: &'a str) -> Result<Who<'a>, Rejection> {
    if keys.is_empty() {
        return Err(Cause::NotConfigured.into());
    }
    let invalid =
        |fault: TokenFault| Rejection::from(Cause::BearerInvalid).with_detail(fault.to_string());
    let Good { session, .. } = keys.verify(token).map_err(invalid)?;
    Ok(if session {
        Who::SessionBearer(token)
    } else {
        Who::Bearer(token)
    })
}

fn bearer_of(token: &str) -> Vec<u8> {
    format!("Bearer {token}").into_bytes()
}

fn authorization(bearer: Vec<u8>) -> Change {
    Change::Set("authorization".into(), bearer)
}

/// Asks for an engine, by a session or by a token.
fn placement_call(
    request: &Request<'_>,
    session: Option<&str>,
    token: Option<&str>,
) -> Result<Callout, Cause> {
    let body = json(&PlacementRequest {
        session: session.map(str::to_owned),
        token: token.map(str::to_owned),
        method: request.method.to_owned(),
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

/// Asks for the token of a session.
fn session_call(config: &Config, session: &str) -> Result<Callout, Cause> {
    let request = TokenRequest {
        session: Some(session.to_owned()),
        token: None,
    };
    token_call(config, &request, || Key::of(session))
}

/// Asks whether the session of a token still lives.
fn bearer_call(config: &Config, token: &str) -> Result<Callout, Cause> {
    let request = TokenRequest {
        session: None,
        token: Some(token.to_owned()),
    };
    token_call(config, &request, || Key::of_token(token))
}

fn token_call(
    config: &Config,
    request: &TokenRequest,
    key: impl FnOnce() -> Key,
) -> Result<Callout, Cause> {
    Ok(Callout {
        path: TOKENS_PATH,
        body: json(request)?,
        shared: (config.cache.entries > 0).then(key),
    })
}

/// Strings always serialise; should they not, the request is refused all the same.
fn json(body: &impl Serialize) -> Result<Vec<u8>, Cause> {
    serde_json::to_vec(body).map_err(|_| Cause::Internal)
}

/// The client's name for its tab: `berth_tab` in the query. One that is no plain word is no name.
fn tab(path: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    let tab = query
        .split('&')
        .find_map(|p| p.strip_prefix("berth_tab="))?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    ((1..=MAX_TAB_BYTES).contains(&tab.len()) && tab.bytes().all(plain)).then(|| tab.to_owned())
}

/// Adds what a WebSocket that came by HTTP/2 lacks: Envoy makes an HTTP/1.1 upgrade of the extended CONNECT,
/// without the headers that engines insist on (RFC 6455, section 4.2.1). The client does not look at
/// the answer to the key (RFC 8441, section 5).
fn complete_handshake(handshake: Handshake, changes: &mut Vec<Change>) {
    if !handshake.key {
        changes.push(Change::Nonce("sec-websocket-key"));
    }
    if !handshake.version {
        changes.push(Change::Set("sec-websocket-version".into(), b"13".into()));
    }
}

/// Takes the login cookie off and leaves the others, header by header, byte for byte.
fn take_off_cookie(headers: &[&[u8]], name: &str, changes: &mut Vec<Change>) {
    let rests: Vec<Without> = headers.iter().map(|h| cookie::without(h, name)).collect();
    if rests.iter().all(|rest| *rest == Without::Untouched) {
        return;
    }
    let mut kept = headers
        .iter()
        .zip(rests)
        .filter_map(|(header, rest)| match rest {
            Without::Untouched => Some(header.to_vec()),
            Without::Rest(bytes) => Some(bytes),
            Without::Nothing => None,
        });
    match kept.next() {
        None => changes.push(Change::Remove("cookie".to_owned())),
        Some(first) => {
            changes.push(Change::Set("cookie".into(), first));
            changes.extend(kept.map(|header| Change::Add("cookie".into(), header)));
        }
    }
}
