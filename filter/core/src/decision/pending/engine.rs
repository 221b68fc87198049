//! The engine of a plain request: what the placement service's response means for every request of its scope, and how a
//! request goes there. The same response serves the request that called, those that waited, and later ones.

use crate::affinity::{EngineLookup, EngineRoute};
use crate::auth::jwt::Keys;
use crate::decision::effects::{HeaderMutation, bearer};
use crate::decision::pending::{CallOutcome, Target, verified_response};
use crate::decision::rejection::{RejectReason, Rejection};
use crate::decision::response::validate_engine;
use std::rc::Rc;

/// A plain request that goes to its engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedRequest {
    /// Its engine.
    pub route: Rc<EngineRoute>,
    /// Whether it keeps the session and the key alive.
    pub counts_activity: bool,
    /// The index of its route in the configuration, for the metrics.
    pub route_index: Option<usize>,
}

/// A valid response.
#[derive(Debug)]
pub struct EngineAnswer {
    /// The engine, and the requests that go there.
    pub route: EngineRoute,
    /// How long it may be used, in milliseconds from when the call was sent.
    pub valid_ms: u64,
    /// Until when it may be used at the longest, in milliseconds since 1970: when the token or the session expires.
    pub expires_at: u64,
}

impl EngineAnswer {
    /// The milliseconds for which it may be used, after a call that was sent at `sent_at`.
    #[must_use]
    pub fn lifetime_ms(&self, sent_at: u64) -> u64 {
        self.valid_ms.min(self.expires_at.saturating_sub(sent_at))
    }
}

/// Validates the response of a placement call for a plain request and verifies its token. `has_ended` knows recently
/// ended sessions.
///
/// # Errors
/// The rejection, which each request renders for its client.
pub fn result(
    keys: &Keys,
    has_ended: &dyn Fn(&str) -> bool,
    lookup: &EngineLookup,
    status: u16,
    body: &[u8],
) -> Result<EngineAnswer, Rejection> {
    let (response, claims) = verified_response(keys, has_ended, status, body, validate_engine)?;
    let (Some(affinity), Some(placed)) = (response.affinity, response.placed) else {
        return Err(invalid("affinity"));
    };
    let headers = response.mutations.into_iter();
    let headers = headers.filter_map(|mutation| match mutation {
        HeaderMutation::Set(name, value) => Some((name.into_owned(), value)),
        _ => None,
    });
    let authorization = ("authorization".to_owned(), bearer(&response.token));
    let route = EngineRoute {
        key: affinity.key.into(),
        epoch: affinity.epoch,
        as_of: affinity.as_of,
        scope: affinity.scope,
        rewrite: affinity.rewrite,
        session_ref: response.session_ref.into(),
        session_expires_at: response.session_expires_at,
        pool: placed.pool,
        engine: placed.engine,
        headers: headers.chain([authorization]).collect(),
    };
    if !route.covers(&lookup.host, &lookup.path) {
        return Err(invalid("affinity.scope"));
    }
    let expires_at = claims.expires_at.min(response.session_expires_at);
    Ok(EngineAnswer {
        route,
        valid_ms: affinity.valid_ms,
        expires_at: expires_at.saturating_mul(1_000),
    })
}

fn invalid(field: &str) -> Rejection {
    Rejection::from(RejectReason::ServiceResponseInvalid).with_detail(format!("wrong: {field}"))
}

/// Sends a request to its engine.
pub(super) fn outcome(
    lookup: &EngineLookup,
    route: &Rc<EngineRoute>,
    route_index: Option<usize>,
) -> CallOutcome {
    let path = route.rewritten(&lookup.path);
    let headers = route.headers.iter();
    let headers =
        headers.map(|(name, value)| HeaderMutation::Set(name.clone().into(), value.clone()));
    let path = HeaderMutation::Set(":path".into(), path.into_bytes());
    CallOutcome::Route {
        mutations: headers.chain([path]).collect(),
        session_ref: Some(route.session_ref.to_string()),
        target: Target::Engine(PlacedRequest {
            route: Rc::clone(route),
            counts_activity: lookup.counts_activity,
            route_index,
        }),
    }
}

/// Whether a rejection of one request holds for every request of its credential and route, whatever its path: then those
/// that waited for the call are rejected, too, and make no calls of their own.
#[must_use]
pub const fn holds_for_all_paths(reason: RejectReason) -> bool {
    reason.requires_login()
        || reason.is_callout_failure()
        || matches!(
            reason,
            RejectReason::BearerInvalid
                | RejectReason::TokenInvalid
                | RejectReason::UnknownGateway
                | RejectReason::StoreDown
                | RejectReason::Internal
        )
}

/// The engine of a request has moved while its call was in flight, twice.
#[must_use]
pub fn moved() -> Rejection {
    Rejection {
        retry_after: Some(1),
        ..Rejection::from(RejectReason::EngineFailed)
    }
}
