//! Polls a source that cannot report changes by itself: decides when the next request is due, and whether its
//! response is a change. Also the HTTP client of such sources.

use super::{DiscoveredEngine, DiscoveryFault};
use crate::core::http_client;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// The last list of a source, and when the next request is due.
#[derive(Debug, Default)]
pub(super) struct Poller {
    last: Option<Vec<DiscoveredEngine>>,
    /// The source has failed since the last list.
    failed: bool,
    /// The source has returned one empty list since the last list.
    empty_once: bool,
    due: Option<Instant>,
}

impl Poller {
    /// Waits until the next request is due.
    pub(super) async fn wait_until_due(&self) {
        if let Some(due_at) = self.due {
            sleep_until(due_at).await;
        }
    }

    /// Takes a response, and schedules the next request after `next`. Returns the response if it is a change: a list
    /// that differs from the last one, any fault, and any list after a fault. An empty list must be returned twice in
    /// a row, because a source that has just started may not know its engines yet.
    pub(super) fn report_change(
        &mut self,
        answer: Result<Vec<DiscoveredEngine>, DiscoveryFault>,
        next: Duration,
    ) -> Option<Result<Vec<DiscoveredEngine>, DiscoveryFault>> {
        match answer {
            Ok(mut engines) => {
                // The order has no meaning.
                engines.sort_by(|a, b| a.name.cmp(&b.name));
                self.due = Some(Instant::now() + next);
                let all_gone =
                    engines.is_empty() && self.last.as_ref().is_some_and(|l| !l.is_empty());
                self.empty_once = all_gone && !self.empty_once;
                if self.empty_once || (!self.failed && self.last.as_ref() == Some(&engines)) {
                    return None;
                }
                self.failed = false;
                self.last = Some(engines.clone());
                Some(Ok(engines))
            }
            Err(fault) => {
                // No delay here: the caller waits after a fault.
                self.due = None;
                (self.failed, self.empty_once) = (true, false);
                Some(Err(fault))
            }
        }
    }
}

/// The HTTP client of a source, built on first use.
///
/// # Errors
/// When it cannot be built.
pub(super) fn client(
    slot: &mut Option<reqwest::Client>,
    builder: impl FnOnce() -> reqwest::ClientBuilder,
) -> Result<&reqwest::Client, DiscoveryFault> {
    match slot {
        Some(client) => Ok(client),
        None => {
            let client = builder().build();
            let client = client.map_err(|e| DiscoveryFault::new(http_client::root_cause(&e)))?;
            Ok(slot.insert(client))
        }
    }
}

/// The body of a `GET`, at most `max_bytes`.
///
/// # Errors
/// When there is no response, a status other than 200, or a longer body.
pub(super) async fn get(
    client: &reqwest::Client,
    url: &str,
    max_bytes: usize,
) -> Result<Vec<u8>, DiscoveryFault> {
    let fault = |e: reqwest::Error| {
        let cause = http_client::root_cause(&e);
        DiscoveryFault::new(format!("{url}: {cause}"))
    };
    let response = client.get(url).send().await.map_err(fault)?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        return Err(DiscoveryFault::new(format!("{url}: status {status}")));
    }
    let body = http_client::read_body(response, max_bytes)
        .await
        .map_err(fault)?;
    body.ok_or_else(|| DiscoveryFault::new(format!("{url}: more than {max_bytes} bytes")))
}
