//! One request from its headers to its route or its refusal. A state machine that consumes itself:
//! [`start`] gives the first step, and only a [`Step::Call`] leaves something behind, [`Waiting`],
//! which takes the callout's end exactly once. The host obeys and decides nothing.

use crate::bearer;
use crate::config::Config;
use crate::cookie::{self, CookieFault, Without};
use crate::origin::{self, Origin};
use crate::placement::{self, Answer, Placed};
use crate::presentation::{Asker, present};
use crate::rejection::{Cause, Rejection};
use crate::request::{Handshake, Header, Request};
use crate::route::{self, Action, MaxAge, Route};
use crate::step::{Callout, Change, Failure, Outcome, Start, Step};
use crate::token::{Keys, TokenFault};
use berth_api::{PLACEMENTS_PATH, PlacementRequest, Problem, TOKENS_PATH, TokenRequest};
use serde::Serialize;

/// Bytes of a tab's name at the most.
const MAX_TAB_BYTES: usize = 64;

/// Decides on a request by its headers.
pub fn start<'a>(config: &Config, keys: &Keys, headers: impl Iterator<Item = Header<'a>>) -> Start {
    let refuse = |action, asker: &Asker, rejection: Rejection| Start {
        action,
        step: Step::Reply(present(config, asker, rejection)),
    };
    let request = match Request::read(headers, &config.trust_headers) {
        Ok(request) => request,
        Err(detail) => {
            let rejection = Rejection::from(Cause::BadRequest).with_detail(detail);
            return refuse(None, &Asker::Program, rejection);
        }
    };
    let asker = Asker::of(&request, &config.api_prefixes);
    let Some(route) = route::find(&config.routes, request.path) else {
        return refuse(None, &asker, Cause::NoRoute.into());
    };
    let action = Some(route.action);
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
        return Start { action, step };
    }
    let who = match who(config, keys, &request, route) {
        Ok(who) => who,
        Err(rejection) => return refuse(action, &asker, rejection),
    };
    take_off_cookie(&request.cookies, &config.cookie, &mut changes);
    let callout = match (route.action, who) {
        (Action::Place, Who::Session(session)) if request.upgrade => {
            placement_call(&request, Some(session), None)
        }
        (Action::Place, Who::Bearer(token)) if request.upgrade => {
            placement_call(&request, None, Some(token))
        }
        (_, Who::Session(session)) => token_call(session),
        (Action::Place, Who::Bearer(_) | Who::Nobody) => Err(Cause::UpgradeRequired),
        (_, Who::Bearer(token)) => {
            changes.push(authorization(token));
            let step = Step::Pass(changes);
            return Start { action, step };
        }
        (_, Who::Nobody) => {
            let step = Step::Pass(changes);
            return Start { action, step };
        }
    };
    let callout = match callout {
        Ok(callout) => callout,
        Err(cause) => return refuse(action, &asker, cause.into()),
    };
    let waiting = Waiting {
        action: route.action,
        asker,
        anonymous: route.anonymous,
        max_age: route.max_age,
    };
    let step = Step::Call {
        changes,
        callout,
        waiting,
    };
    Start { action, step }
}

/// Who a request says that it comes from.
#[derive(Clone, Copy)]
enum Who<'a> {
    /// Somebody with a login cookie, still to be looked up.
    Session(&'a str),
    /// A program with a token of its own, which has been verified.
    Bearer(&'a str),
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
    keys.verify(token).map_err(invalid)?;
    Ok(Who::Bearer(token))
}

fn authorization(token: &str) -> Change {
    let bearer = format!("Bearer {token}");
    Change::Set("authorization".into(), bearer.into_bytes())
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
    let path = PLACEMENTS_PATH;
    Ok(Callout { path, body })
}

fn token_call(session: &str) -> Result<Callout, Cause> {
    let session = session.to_owned();
    let body = json(&TokenRequest { session })?;
    let path = TOKENS_PATH;
    Ok(Callout { path, body })
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

/// A request that waits for its callout.
#[derive(Debug)]
pub struct Waiting {
    action: Action,
    asker: Asker,
    anonymous: bool,
    max_age: Option<MaxAge>,
}

impl Waiting {
    /// The placement service, or Envoy in its stead, has answered. `ended` knows sessions that are over.
    #[must_use]
    pub fn on_reply(
        self,
        config: &Config,
        keys: &Keys,
        ended: &dyn Fn(&str) -> bool,
        status: u16,
        body: &[u8],
    ) -> Outcome {
        let answer = match self.answer(status, body) {
            Ok(answer) => answer,
            // What names nobody has been taken off before the callout.
            Err(rejection) if self.anonymous && rejection.cause.wants_login() => {
                return Outcome::Route {
                    changes: Vec::new(),
                    session_ref: None,
                    placed: None,
                };
            }
            Err(rejection) => return self.refuse(config, rejection),
        };
        if let Err(fault) = keys.verify(&answer.token) {
            let rejection = Rejection::from(Cause::TokenInvalid);
            return self.refuse(config, rejection.with_detail(fault.to_string()));
        }
        if self.action == Action::Place && self.asker != Asker::Upgrade {
            return self.refuse(config, Cause::UpgradeRequired.into());
        }
        // The session ended while its answer was on its way.
        if ended(&answer.session_ref) {
            return self.refuse(config, Cause::SessionExpired.into());
        }
        let mut changes = answer.changes;
        changes.push(authorization(&answer.token));
        let max_age = self.max_age;
        Outcome::Route {
            changes,
            session_ref: Some(answer.session_ref),
            placed: answer.placed.map(|placed| Placed { max_age, ..placed }),
        }
    }

    /// There was no answer at all.
    #[must_use]
    pub fn on_failure(self, config: &Config, failure: Failure) -> Outcome {
        let cause = match failure {
            Failure::ClusterMissing => Cause::ServiceClusterMissing,
            Failure::Unreachable => Cause::ServiceUnreachable,
        };
        self.refuse(config, cause.into())
    }

    fn answer(&self, status: u16, body: &[u8]) -> Result<Answer, Rejection> {
        if status != 200 {
            return Err(refusal(status, body));
        }
        let answer = if self.action == Action::Place && self.asker == Asker::Upgrade {
            placement::placement(body)
        } else {
            placement::token(body)
        };
        answer.map_err(|field| {
            Rejection::from(Cause::ServiceAnswerInvalid).with_detail(format!("wrong: {field}"))
        })
    }

    fn refuse(self, config: &Config, rejection: Rejection) -> Outcome {
        Outcome::Reply(present(config, &self.asker, rejection))
    }
}

/// What an answer that is not 200 means: the service's own problem, or Envoy's words for a service
/// that was too slow (504) or not there (503).
fn refusal(status: u16, body: &[u8]) -> Rejection {
    if body.len() <= placement::MAX_ANSWER_BYTES
        && let Ok(problem) = serde_json::from_slice::<Problem>(body)
    {
        return Rejection {
            cause: problem.reason.into(),
            detail: problem.detail,
            retry_after: problem.retry_after,
            anonymous_cookie: problem.anonymous_cookie,
        };
    }
    match status {
        504 => Cause::ServiceTimeout.into(),
        503 => Cause::ServiceUnreachable.into(),
        _ => Rejection::from(Cause::ServiceAnswerInvalid).with_detail(format!("status {status}")),
    }
}
