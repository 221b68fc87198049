//! The keys of requests: derives the name of a key from a request and its route, and holds the directory of the engines
//! of keys. Chooses no engine.

use super::PlaceRequest;
use super::affinity_directory::{
    AffinityDirectory, AffinityKeys, DirectorySettings, KeyRequest, MoveLog, ResolveError, key_name,
};
use super::routes::RouteDetails;
use super::tab_store::TabStore;
use crate::config::{self, AffinityKey, Config};
use crate::core::affinity_key::CanonicalKey;
use crate::core::clock::Clock;
use crate::core::rejection::Rejection;
use berth_api::{AffinityScope, RejectReason};
use berth_store::{AffinityId, MAX_CLAIM_TTL, OwnerId, StoreError, Stores};
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A key that another replica has moved is noticed after this time at the latest.
const MAX_AGE: Duration = Duration::from_secs(5);
/// A claim lasts longer than the placement that made it.
const CLAIM_RESERVE: Duration = Duration::from_secs(2);
/// `Retry-After` in seconds for an account with too many keys: one of them may have expired by then.
const TOO_MANY_RETRY_S: u32 = 5;

/// The keys of all routes and their engines.
pub struct KeyDirectory {
    pub(super) ids: AffinityKeys,
    pub(super) directory: AffinityDirectory,
    /// The engine sessions of tabs.
    pub(super) tabs: TabStore,
    /// How long a gateway may use what it knows of a key.
    pub(super) valid: Duration,
}

/// The key of one request.
#[derive(Debug)]
pub(super) struct RequestKey<'a> {
    pub(super) id: AffinityId,
    /// Its public name.
    pub(super) name: String,
    owner: OwnerId,
    pub(super) settings: &'a config::Affinity,
    pub(super) scope: &'a AffinityScope,
    pub(super) rewrite: Option<&'a str>,
}

impl RequestKey<'_> {
    pub(super) fn request<'b>(&self, pool: &'b str) -> KeyRequest<'b> {
        KeyRequest {
            id: self.id,
            owner: Some(self.owner),
            pool,
            idle: self.settings.idle,
            max_per_owner: self.settings.per_account,
        }
    }
}

impl KeyDirectory {
    /// Opens the directory; `None` if the store keeps no keys. `appended` is notified of each move of a key in the log.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn open(
        stores: &Stores,
        config: &Config,
        clock: Arc<dyn Clock>,
        appended: Arc<Notify>,
    ) -> Result<Option<Self>, StoreError> {
        let Some(store) = stores.affinity.clone() else {
            return Ok(None);
        };
        let claim_ttl = config.placement.deadline.saturating_add(CLAIM_RESERVE);
        let settings = DirectorySettings {
            claimer: format!("{:016x}", rand::rng().random::<u64>()),
            claim_ttl: claim_ttl.min(MAX_CLAIM_TTL),
            max_age: MAX_AGE,
        };
        let moves = MoveLog {
            log: stores.events.clone(),
            clock,
            appended,
        };
        let ids = AffinityKeys::load(stores.coordination.as_ref()).await?;
        let tab_idle = config.session.absolute_timeout;
        Ok(Some(Self {
            tabs: TabStore::new(store.clone(), ids.clone(), tab_idle),
            ids,
            directory: AffinityDirectory::new(store, Some(moves), settings),
            valid: config.edge.cache.ttl,
        }))
    }

    /// The key of a request; `None` if its route keeps none, or if the request names no tab.
    pub(super) fn request_key<'a>(
        &self,
        details: &'a RouteDetails<'_>,
        request: &PlaceRequest<'_>,
    ) -> Result<Option<RequestKey<'a>>, Rejection> {
        let Some(route_key) = &details.key else {
            return Ok(None);
        };
        let (pool, settings) = (&details.route.pool, &details.route.affinity);
        let session = request.session;
        let tab = request.tab.filter(|tab| !tab.is_empty());
        let (kind, key) = match (&settings.key, tab) {
            (AffinityKey::Stream, _) | (AffinityKey::Tab, None) => return Ok(None),
            (AffinityKey::Tab, Some(tab)) => (
                "tab",
                CanonicalKey::from_tab(pool, &session.session_ref, tab),
            ),
            (AffinityKey::Session, _) => (
                "session",
                CanonicalKey::from_session(pool, &session.session_ref),
            ),
            (AffinityKey::Account, _) if session.account.is_empty() => {
                let detail = "the session has no account";
                return Err(Rejection::new(RejectReason::Forbidden).with_detail(detail));
            }
            (AffinityKey::Account, _) => (
                "account",
                CanonicalKey::from_account(pool, &session.account),
            ),
            (AffinityKey::Template(_), _) => {
                let captured = route_key.captured.clone();
                ("captures", Ok(captured.ok_or(RejectReason::Internal)?))
            }
        };
        let key = key.map_err(|_| Rejection::new(RejectReason::KeyTooLong))?;
        let id = self.ids.id(&key);
        Ok(Some(RequestKey {
            id,
            name: key_name(&id),
            owner: self.ids.owner(pool, kind, &session.account),
            settings,
            scope: &route_key.scope,
            rewrite: route_key.rewrite.as_deref(),
        }))
    }
}

/// Why a request of a key is rejected.
pub(super) fn rejection(error: ResolveError<Rejection>) -> Rejection {
    match error {
        ResolveError::Store(error) => {
            tracing::debug!(%error, "a key is not resolved");
            Rejection::new(RejectReason::StoreDown).with_retry_after(1)
        }
        ResolveError::LimitReached => {
            Rejection::new(RejectReason::TooManyKeys).with_retry_after(TOO_MANY_RETRY_S)
        }
        ResolveError::EngineUnavailable => {
            engine_failed("the engine of the key does not answer; the key stays there for a while")
        }
        ResolveError::Preparation(rejection) => rejection,
        ResolveError::DeadlineExceeded => {
            engine_failed("another request is still preparing the engine of the key")
        }
    }
}

/// The engine of a key does not serve it now.
pub(super) fn engine_failed(detail: &str) -> Rejection {
    let rejection = Rejection::new(RejectReason::EngineFailed).with_detail(detail);
    rejection.with_retry_after(1)
}
