//! Reloads of the configuration that operators have requested, on their way to the task that does them. Must not know how
//! a reload works.

use crate::config::fault::Faults;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// Reloads that wait while one is in progress.
const MAX_WAITING: usize = 8;

/// The effect of a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Reload)]
pub struct ReloadReport {
    /// The changed settings that are in force now.
    pub applied: Vec<String>,
    /// The changed settings that need a restart of the service.
    pub restart: Vec<String>,
    /// The files of the edge are other ones now: they must be rendered again.
    pub render: bool,
    /// The warnings of the configuration.
    pub warnings: Vec<String>,
}

/// Where the result of a reload goes: the faults of the file if it has some.
pub type ReloadReply = oneshot::Sender<Result<ReloadReport, Faults>>;

/// The queue of requested reloads.
pub struct ReloadRequests {
    sender: mpsc::Sender<ReloadReply>,
    receiver: Mutex<Option<mpsc::Receiver<ReloadReply>>>,
}

impl Default for ReloadRequests {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        Self {
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

impl ReloadRequests {
    /// The requests, for the task that serves them; `None` if they are taken already.
    pub fn take(&self) -> Option<mpsc::Receiver<ReloadReply>> {
        self.receiver.lock().take()
    }

    /// `None`: nobody serves the requests, or too many wait.
    pub(super) async fn request(&self) -> Option<Result<ReloadReport, Faults>> {
        if self.receiver.lock().is_some() {
            return None;
        }
        let (reply, result) = oneshot::channel();
        self.sender.try_send(reply).ok()?;
        result.await.ok()
    }
}
