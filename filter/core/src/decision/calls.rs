//! The calls to the placement service: which body each has, and which requests share one response. Does not decide
//! whether to call.

use crate::affinity::EngineLookup;
use crate::auth::token_cache::CacheKey;
use crate::config::Config;
use crate::decision::effects::Callout;
use crate::decision::rejection::RejectReason;
use crate::request::{Request, origin};
use crate::routing::Route;
use berth_api::{PLACEMENTS_PATH, PlacementRequest, TOKENS_PATH, TokenRequest};
use serde::Serialize;

/// Maximum bytes of the client's name for a tab.
const MAX_TAB_BYTES: usize = 64;

/// The credential of a call.
#[derive(Clone, Copy)]
pub(super) enum CallCredential<'a> {
    /// The value of the login cookie.
    Session(&'a str),
    /// A token of the client's own.
    Token(&'a str),
}

impl CallCredential<'_> {
    fn cache_key(self) -> CacheKey {
        match self {
            Self::Session(session) => CacheKey::from_cookie(session),
            Self::Token(token) => CacheKey::from_token(token),
        }
    }

    /// The fields `session` and `token` of a call.
    fn fields(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Session(session) => (Some(session.to_owned()), None),
            Self::Token(token) => (None, Some(token.to_owned())),
        }
    }
}

/// Requests an engine for a request; `gateway` is the name of this worker.
pub(super) fn placement(
    gateway: &str,
    request: &Request<'_>,
    credential: CallCredential<'_>,
) -> Result<Callout, RejectReason> {
    let (session, token) = credential.fields();
    let body = json(&PlacementRequest {
        session,
        token,
        gateway: Some(gateway.to_owned()),
        method: request.method.to_owned(),
        upgrade: request.upgrade,
        path: request.path.to_owned(),
        host: request.authority.to_owned(),
        tab: tab(request.path),
        request_id: request.request_id.map(str::to_owned),
    })?;
    Ok(Callout {
        path: PLACEMENTS_PATH,
        body,
        shared: None,
    })
}

/// By what a plain request looks its engine up. `index` is that of its route.
pub(super) fn engine_lookup(
    config: &Config,
    request: &Request<'_>,
    route: &Route,
    index: usize,
    credential: CallCredential<'_>,
) -> EngineLookup {
    let credential = credential.cache_key();
    let host = origin::host(request.authority).to_ascii_lowercase();
    let is_cached = config.engine_cache.entries > 0;
    EngineLookup {
        flight: is_cached.then(|| credential.for_route(&host, index)),
        credential,
        host,
        path: request.path.to_owned(),
        counts_activity: route.activity.counts_request(request.has_safe_method()),
    }
}

/// Requests the token of a session, or asks whether the session of a token lives.
pub(super) fn token(
    config: &Config,
    request: &Request<'_>,
    credential: CallCredential<'_>,
) -> Result<Callout, RejectReason> {
    let (session, token) = credential.fields();
    Ok(Callout {
        path: TOKENS_PATH,
        body: json(&TokenRequest {
            session,
            token,
            request_id: request.request_id.map(str::to_owned),
        })?,
        shared: (config.cache.entries > 0).then(|| credential.cache_key()),
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
