//! The sessions of one engine through other replicas, and how many of them the last probe has seen. The ledger reports
//! the count with a delay; earlier counts are remembered as long as a probe may need them. Empty with a single replica.

use super::SETTLE;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Upper bound of a probe's duration: no probe under way began earlier.
const MAX_PROBE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct RemoteSessions {
    count: u32,
    /// How many the last probe has seen.
    probed: u32,
    /// The counts since the last probe, each with the time at which it was reported; the latest last.
    history: VecDeque<(Instant, u32)>,
}

impl RemoteSessions {
    /// Sets the current count.
    pub(super) fn set(&mut self, count: u32, now: Instant) {
        if self.count == count {
            return;
        }
        self.count = count;
        self.history.push_back((now, count));
        // Without probes nothing else would shorten the history. Of the counts that are older than any probe under way,
        // the last one is enough.
        while self
            .history
            .get(1)
            .is_some_and(|(set_at, _)| *set_at + SETTLE + MAX_PROBE <= now)
        {
            self.history.pop_front();
        }
    }

    /// Takes in a probe that began at `probe_start`. Returns how many more (or fewer) it saw than the one before.
    pub(super) fn apply_probe(&mut self, probe_start: Instant) -> i64 {
        let probed_before = self.probed;
        while let Some((changed_at, count)) = self.history.front().copied()
            && changed_at + SETTLE <= probe_start
        {
            self.probed = count;
            self.history.pop_front();
        }
        i64::from(self.probed) - i64::from(probed_before)
    }

    /// A stream of this replica that the last probe has seen belongs to another replica now.
    pub(super) fn adopt_probed(&mut self) {
        self.probed = self.probed.saturating_add(1);
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Sessions that the last probe cannot have seen.
    pub(super) const fn unprobed(&self) -> u32 {
        self.count.saturating_sub(self.probed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_has_seen_what_was_reported_well_before() {
        let (mut remote, now) = (RemoteSessions::default(), Instant::now());
        remote.set(5, now);
        remote.set(5, now);
        assert_eq!(remote.history.len(), 1);
        assert_eq!(remote.unprobed(), 5);
        assert_eq!(remote.apply_probe(now + SETTLE), 5);
        assert_eq!(remote.unprobed(), 0);
        let later = now + SETTLE;
        remote.set(7, later);
        assert_eq!(remote.apply_probe(later + Duration::from_millis(1)), 0);
        assert_eq!((remote.count(), remote.unprobed()), (7, 2));
        remote.set(4, later + SETTLE);
        assert_eq!(remote.unprobed(), 0, "never less than none");
        assert_eq!(remote.apply_probe(later + 2 * SETTLE), -1);
    }

    #[test]
    fn the_history_is_bounded_without_probes() {
        let (mut remote, start) = (RemoteSessions::default(), Instant::now());
        let mut now = start;
        for count in 1..=10_000 {
            now += Duration::from_secs(1);
            remote.set(count, now);
        }
        assert!(remote.history.len() < 100, "{}", remote.history.len());
        // The oldest probe that may be under way still gets the count of its time.
        assert_eq!(remote.apply_probe(now - MAX_PROBE), 10_000 - 61);
    }
}
