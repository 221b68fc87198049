//! The ledger of sessions that replicas share, as the accounting of one replica uses it. The accounting does not know
//! how the ledger is reached.

use async_trait::async_trait;
use std::fmt::Debug;
use std::sync::Arc;

/// Sessions at most: on one engine, and in its pool.
pub type Most = (Option<u32>, Option<u32>);

/// What the ledger answers to a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// There is room, and it is taken.
    Yes,
    /// The engine is full.
    EngineFull {
        /// Sessions on it through other replicas.
        elsewhere: u32,
    },
    /// The pool is full.
    PoolFull,
    /// The ledger cannot answer, for this reason.
    Unsure(&'static str),
}

/// Where the replicas of the service agree on how many sessions an engine has. Engines are named `pool/name`.
#[async_trait]
pub trait CapacityLedger: Debug + Send + Sync {
    /// Asks for room for one stream on `engine`. Whatever the answer, [`Self::released`] ends the request.
    async fn reserve(&self, stream: &Arc<str>, engine: &Arc<str>, most: Most) -> Confirmed;

    /// A gateway of this replica has reported the stream open.
    fn opened(&self, stream: &Arc<str>, engine: &Arc<str>);

    /// This replica no longer has the stream.
    fn released(&self, stream: &str);

    /// The stream is closed, whichever replica has it.
    fn closed(&self, stream: &str);
}
