//! The ticks of a background task that does the same work at an interval. Knows no task.

use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// Ticks at once, and then at each interval. After a late tick the next one is a whole interval later, because work
/// that was missed needs no repetition.
pub(crate) fn ticker(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_late_tick_delays_the_next_one() {
        let every = Duration::from_secs(1);
        let mut ticks = ticker(every);
        let started_at = Instant::now();
        ticks.tick().await;
        assert_eq!(started_at.elapsed(), Duration::ZERO);
        tokio::time::sleep(every * 7 / 2).await;
        ticks.tick().await;
        let late = Instant::now();
        ticks.tick().await;
        assert_eq!(late.elapsed(), every);
    }
}
