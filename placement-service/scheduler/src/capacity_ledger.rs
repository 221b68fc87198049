//! The ledger of sessions that the replicas of the service share, as the accounting of one replica uses it. Where the
//! ledger is stored is not known here.

use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;

/// Maximum numbers of sessions: on one engine, and in its pool.
pub type CapacityLimits = (Option<u32>, Option<u32>);

/// The ledger's answer to a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerReply {
    /// Reserved.
    Reserved,
    /// The engine is full.
    EngineFull {
        /// Sessions on it through other replicas.
        remote: u32,
    },
    /// The pool is full.
    PoolFull,
    /// The ledger is not available, for this reason.
    Unavailable(&'static str),
}

/// Counts the sessions of each engine over all replicas. Engines are named `pool/name`.
#[async_trait]
pub trait CapacityLedger: Debug + Send + Sync {
    /// Reserves one stream on `engine`. Whatever the answer, [`Self::released`] must follow.
    async fn reserve(
        &self,
        stream: &Arc<str>,
        engine: &Arc<str>,
        limits: CapacityLimits,
    ) -> LedgerReply;

    /// A gateway of this replica has reported the stream open.
    fn opened(&self, stream: &Arc<str>, engine: &Arc<str>);

    /// This replica no longer has the stream.
    fn released(&self, stream: &str);

    /// The stream is closed, whichever replica has it.
    fn closed(&self, stream: &str);
}
