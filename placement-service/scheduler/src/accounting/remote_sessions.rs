//! What other replicas have on one engine, and how much of it the last probe has seen: told by the ledger a moment
//! late, and remembered for as long as a probe may need it. Nothing, where there is one replica.

use super::SETTLE;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// No probe that is still under way began longer ago.
const PROBE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    now: u32,
    /// Of these the last probe has seen so many.
    seen: u32,
    /// Since when how many, the latest last; only what no probe has come after.
    history: VecDeque<(Instant, u32)>,
}

impl Elsewhere {
    /// So many are there now.
    pub(super) fn are(&mut self, count: u32, now: Instant) {
        if self.now == count {
            return;
        }
        self.now = count;
        self.history.push_back((now, count));
        // Where no probe tells sessions, nothing else would end it: of what is older than any probe, the last counts.
        while self
            .history
            .get(1)
            .is_some_and(|(at, _)| *at + SETTLE + PROBE <= now)
        {
            self.history.pop_front();
        }
    }

    /// A probe that began then has come. By how many more (or less) it saw than the one before.
    pub(super) fn probed(&mut self, began: Instant) -> i64 {
        let before = self.seen;
        while let Some((since, count)) = self.history.front().copied()
            && since + SETTLE <= began
        {
            self.seen = count;
            self.history.pop_front();
        }
        i64::from(self.seen) - i64::from(before)
    }

    /// One that was our own, and that the last probe has seen, is theirs.
    pub(super) fn took_seen(&mut self) {
        self.seen = self.seen.saturating_add(1);
    }

    pub(super) const fn count(&self) -> u32 {
        self.now
    }

    /// Those that the last probe cannot have seen.
    pub(super) const fn unseen(&self) -> u32 {
        self.now.saturating_sub(self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_well_before_a_probe_is_in_its_numbers() {
        let (mut elsewhere, now) = (Elsewhere::default(), Instant::now());
        elsewhere.are(5, now);
        elsewhere.are(5, now);
        assert_eq!(elsewhere.history.len(), 1);
        assert_eq!(elsewhere.unseen(), 5);
        assert_eq!(elsewhere.probed(now + SETTLE), 5);
        assert_eq!(elsewhere.unseen(), 0);
        let later = now + SETTLE;
        elsewhere.are(7, later);
        assert_eq!(elsewhere.probed(later + Duration::from_millis(1)), 0);
        assert_eq!((elsewhere.count(), elsewhere.unseen()), (7, 2));
        elsewhere.are(4, later + SETTLE);
        assert_eq!(elsewhere.unseen(), 0, "never less than none");
        assert_eq!(elsewhere.probed(later + 2 * SETTLE), -1);
    }

    #[test]
    fn without_probes_no_more_is_remembered_than_a_probe_could_need() {
        let (mut elsewhere, begun) = (Elsewhere::default(), Instant::now());
        let mut now = begun;
        for count in 1..=10_000 {
            now += Duration::from_secs(1);
            elsewhere.are(count, now);
        }
        assert!(elsewhere.history.len() < 100, "{}", elsewhere.history.len());
        // A probe as old as may be still sees what was there then.
        assert_eq!(elsewhere.probed(now - PROBE), 10_000 - 61);
    }
}
