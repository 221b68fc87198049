//! Bounds the audit lines that unauthenticated clients can cause. The first lines of an event in each interval are
//! written; the rest are counted, and one line reports the count. Each process has one counter per event. Knows no text
//! of the lines.

use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Maximum number of lines of an event per interval, in addition to the line with the count.
const MAX_LINES: u32 = 10;
const INTERVAL: Duration = Duration::from_secs(60);

/// Decides which lines of one audit event are written.
pub(crate) struct LogSampler(Arc<Shared>);

struct Shared {
    event: &'static str,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The end of the current interval; `None` before the first line.
    ends_at: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl LogSampler {
    /// A sampler for the lines of one event.
    #[must_use]
    pub(crate) fn new(event: &'static str) -> Self {
        let state = Mutex::default();
        Self(Arc::new(Shared { event, state }))
    }

    /// Whether to write the next line. If not, the line is counted; the count is written when the interval ends, or
    /// the process.
    pub(crate) fn admit(&self) -> bool {
        let mut state = self.0.lock();
        let now = Instant::now();
        if state.has_ended(now) {
            self.0.write_summary(&mut state);
            state.ends_at = Some(now + INTERVAL);
            state.written = 0;
        }
        if state.written < MAX_LINES {
            state.written += 1;
            return true;
        }
        state.suppressed += 1;
        if let (1, Some(ends_at)) = (state.suppressed, state.ends_at) {
            self.schedule_summary(ends_at);
        }
        false
    }

    /// Writes the count at the end of the interval. Without a runtime, the next line after the interval writes it.
    fn schedule_summary(&self, ends_at: Instant) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let weak = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            sleep_until(ends_at).await;
            if let Some(shared) = weak.upgrade() {
                let mut state = shared.lock();
                if state.has_ended(Instant::now()) {
                    shared.write_summary(&mut state);
                }
            }
        });
    }
}

impl State {
    fn has_ended(&self, now: Instant) -> bool {
        self.ends_at.is_none_or(|ends_at| now >= ends_at)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn write_summary(&self, state: &mut State) {
        if state.suppressed > 0 {
            tracing::info!(target: "berth::audit", event = self.event, suppressed = state.suppressed);
            state.suppressed = 0;
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut state = std::mem::take(&mut *self.lock());
        self.write_summary(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn admitted(sampler: &LogSampler, lines: u32) -> usize {
        (0..lines).filter(|_| sampler.admit()).count()
    }

    fn suppressed(sampler: &LogSampler) -> u64 {
        sampler.0.lock().suppressed
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_lines_of_each_interval_are_written_and_the_others_counted_once() {
        let sampler = LogSampler::new("test");
        for _ in 0..3 {
            assert_eq!(admitted(&sampler, 1_000), 10);
            assert_eq!(suppressed(&sampler), 990);
            advance(INTERVAL.saturating_sub(Duration::from_millis(1))).await;
            assert_eq!(admitted(&sampler, 10), 0);
            assert_eq!(suppressed(&sampler), 1_000, "not before the interval ends");
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert_eq!(
                suppressed(&sampler),
                0,
                "the count is written, without another line"
            );
        }
    }

    #[test]
    fn without_a_runtime_the_next_interval_writes_the_count() {
        let sampler = LogSampler::new("test");
        assert_eq!(admitted(&sampler, 20), 10);
        sampler.0.lock().ends_at = Some(Instant::now());
        assert!(sampler.admit());
        assert_eq!(suppressed(&sampler), 0);
    }
}
