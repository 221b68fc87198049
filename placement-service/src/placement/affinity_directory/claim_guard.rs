//! A claim that is released unless it leads to a held key, also when the request that made it is cancelled: otherwise
//! the key would wait until the claim expires.

use berth_store::{AffinityId, AffinityStore};
use std::sync::Arc;
use tokio::runtime::Handle;
use tracing::debug;

/// One claim of this replica.
pub(super) struct ClaimGuard(Option<OpenClaim>);

struct OpenClaim {
    store: Arc<dyn AffinityStore>,
    id: AffinityId,
    epoch: u64,
    reason: &'static str,
}

impl ClaimGuard {
    pub(super) fn new(
        store: Arc<dyn AffinityStore>,
        id: AffinityId,
        epoch: u64,
        reason: &'static str,
    ) -> Self {
        Self(Some(OpenClaim {
            store,
            id,
            epoch,
            reason,
        }))
    }

    /// The claim has ended.
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }

    /// Ends the claim. If the store does not answer, the claim expires.
    pub(super) async fn release(mut self) {
        if let Some(claim) = self.0.take() {
            claim.release().await;
        }
    }
}

impl OpenClaim {
    async fn release(self) {
        let released = self
            .store
            .release_affinity(&self.id, self.epoch, self.reason);
        if let Err(error) = released.await {
            debug!(%error, "cannot release a claim: it expires");
        }
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        if let (Some(claim), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(claim.release());
        }
    }
}
