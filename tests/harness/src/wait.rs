//! Waits for conditions instead of fixed times: the one loop that polls until a condition holds.

use crate::Result;
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Polls until the result is `Some`. The error names what was awaited.
///
/// # Errors
/// After `limit`.
pub async fn poll_until<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask().await {
            return Ok(found);
        }
        if Instant::now() >= end {
            return Err(format!("still not so after {limit:?}: {what}").into());
        }
        sleep(POLL_INTERVAL).await;
    }
}
