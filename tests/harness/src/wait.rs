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
pub async fn poll_until<T, F>(
    description: &str,
    limit: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if Instant::now() >= end {
            return Err(format!("still not so after {limit:?}: {description}").into());
        }
        sleep(POLL_INTERVAL).await;
    }
}
