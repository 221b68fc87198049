//! News out of a source that can only be asked: it is asked again and again, and tells when the answer is
//! another one than before.

use super::{DiscoveryFault, Found};
use crate::core::http_client;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a source has told last, and when it is to be asked again.
#[derive(Debug, Default)]
pub(super) struct Polled {
    last: Option<Vec<Found>>,
    /// Since then it has failed.
    failed: bool,
    /// Since then it has told of no engines.
    doubted: bool,
    due: Option<Instant>,
}

impl Polled {
    /// Waits until it is time to ask.
    pub(super) async fn due(&self) {
        if let Some(due) = self.due {
            sleep_until(due).await;
        }
    }

    /// Takes an answer; `next`: when to ask again. Gives it back when it is news: another list than the
    /// last one, any fault, and any list after a fault. That all engines are gone it has to say twice: a source
    /// that has just come up may know of none yet.
    pub(super) fn news(
        &mut self,
        answer: Result<Vec<Found>, DiscoveryFault>,
        next: Duration,
    ) -> Option<Result<Vec<Found>, DiscoveryFault>> {
        match answer {
            Ok(mut found) => {
                // Their order says nothing.
                found.sort_by(|a, b| a.name.cmp(&b.name));
                self.due = Some(Instant::now() + next);
                let lost = found.is_empty() && self.last.as_ref().is_some_and(|l| !l.is_empty());
                self.doubted = lost && !self.doubted;
                if self.doubted || (!self.failed && self.last.as_ref() == Some(&found)) {
                    return None;
                }
                self.failed = false;
                self.last = Some(found.clone());
                Some(Ok(found))
            }
            Err(fault) => {
                // Whoever calls waits in between.
                self.due = None;
                (self.failed, self.doubted) = (true, false);
                Some(Err(fault))
            }
        }
    }
}

/// The client of a source, made when it is first needed.
///
/// # Errors
/// When it cannot be made.
pub(super) fn client(
    made: &mut Option<reqwest::Client>,
    builder: impl FnOnce() -> reqwest::ClientBuilder,
) -> Result<&reqwest::Client, DiscoveryFault> {
    match made {
        Some(client) => Ok(client),
        None => {
            let client = builder().build();
            let client = client.map_err(|e| DiscoveryFault::new(http_client::cause(&e)))?;
            Ok(made.insert(client))
        }
    }
}

/// The body of a `GET`, of `most` bytes at the most.
///
/// # Errors
/// When there is no answer, another status than 200, or more bytes.
pub(super) async fn get(
    client: &reqwest::Client,
    url: &str,
    most: usize,
) -> Result<Vec<u8>, DiscoveryFault> {
    let fault = |e: reqwest::Error| {
        let cause = http_client::cause(&e);
        DiscoveryFault::new(format!("{url}: {cause}"))
    };
    let response = client.get(url).send().await.map_err(fault)?;
    let status = response.status();
    if status != reqwest::StatusCode::OK {
        return Err(DiscoveryFault::new(format!("{url}: status {status}")));
    }
    let body = http_client::body(response, most).await.map_err(fault)?;
    body.ok_or_else(|| DiscoveryFault::new(format!("{url}: more than {most} bytes")))
}
