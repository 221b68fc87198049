//! Waits for the end of a drain, with its progress on standard error. Must not know what is drained.

use super::{Failure, print_progress};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// How often the open WebSockets are counted.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a command waits beyond the time of the drain: for WebSockets that were being opened when it began.
const GRACE_TIME: Duration = Duration::from_secs(15);

/// The WebSockets of what is drained.
#[derive(Clone, Copy)]
pub(super) struct OpenStreams {
    pub(super) open: u64,
    /// They are those of all replicas that the count covers.
    pub(super) complete: bool,
}

/// A drain under way.
pub(super) struct DrainWait<'a> {
    /// What is drained, for messages.
    pub(super) name: &'a str,
    /// The time over which its WebSockets are closed.
    pub(super) over: Duration,
    /// Before this time a count of zero may be too old.
    pub(super) settle: Duration,
}

impl DrainWait<'_> {
    /// Waits until no WebSocket is open; fails if some are [`GRACE_TIME`] after the drain. Errors of the service do not
    /// end the wait, since a replica may restart meanwhile.
    pub(super) async fn wait(
        &self,
        count: impl AsyncFn() -> Result<OpenStreams, Failure>,
    ) -> Result<(), Failure> {
        let name = self.name;
        let began = Instant::now();
        let mut shown = None;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let late = began.elapsed() > self.over + GRACE_TIME;
            match count().await {
                Ok(OpenStreams { open, complete }) => {
                    if open == 0 && complete && began.elapsed() >= self.settle {
                        return Ok(());
                    }
                    if late {
                        return Err(Failure(format!("{name} still has {open} open WebSockets")));
                    }
                    if shown.replace(open) != Some(open) {
                        let left = self.over.saturating_sub(began.elapsed()).as_secs();
                        print_progress(&format!("{name}: {open} open WebSockets, {left} s left"));
                    }
                }
                Err(failure) if late => return Err(failure),
                Err(Failure(message)) => print_progress(&message),
            }
        }
    }
}

/// The time of a drain, as the service answers it.
pub(super) fn drain_duration(drained: &Value) -> Duration {
    let seconds = drained.get("drained_over_s").and_then(Value::as_f64);
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default()
}
