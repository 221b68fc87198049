//! The latest ended sessions, in memory, so that one read of the store serves all waiting gateways. Decides whether a
//! reader's position is still covered. Must not know the store.

use berth_store::{EndCause, Event};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Maximum number of ended sessions kept. A reader that is further behind has missed some.
const KEPT: usize = 16_384;

/// One ended session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Sequence number of its event in the log.
    pub sequence: u64,
    pub session_ref: Arc<str>,
    pub cause: EndCause,
}

/// The latest ended sessions, in the order of the log.
#[derive(Debug)]
pub struct Ends(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    /// All ends after this sequence number are kept.
    from: u64,
    /// Sequence number of the last entry that was appended.
    seen: u64,
    ended: VecDeque<Ended>,
}

/// The sessions that ended after a reader's position.
#[derive(Debug, PartialEq, Eq)]
pub struct News {
    pub ended: Vec<Ended>,
    /// The reader's next position.
    pub sequence: u64,
}

impl Ends {
    pub(super) fn from(seen: u64) -> Self {
        Self(Mutex::new(Kept {
            from: seen,
            seen,
            ended: VecDeque::new(),
        }))
    }

    /// Records an entry of the log. Only the end of a session is kept, but every entry advances the position.
    pub(super) fn saw(&self, sequence: u64, event: &Event) {
        let mut kept = self.lock();
        if sequence > kept.seen.saturating_add(1) {
            // Entries are missing: a reader before the gap may have missed an end.
            kept.ended.clear();
            kept.from = sequence.saturating_sub(1);
        }
        kept.seen = sequence;
        let Some(cause) = event.cause else { return };
        if kept.ended.len() >= KEPT
            && let Some(oldest) = kept.ended.pop_front()
        {
            kept.from = oldest.sequence;
        }
        kept.ended.push_back(Ended {
            sequence,
            session_ref: event.session_ref.as_str().into(),
            cause,
        });
    }

    /// Continues from an earlier position, because the log was rolled back. All positions of readers become invalid.
    pub(super) fn back_to(&self, newest: u64) {
        let mut kept = self.lock();
        kept.ended.clear();
        (kept.from, kept.seen) = (newest, newest);
    }

    /// The position after the last entry that this process has processed.
    #[must_use]
    pub fn newest(&self) -> u64 {
        self.lock().seen
    }

    /// The sessions that ended after a position, at most `limit`; `None` when the position is not covered.
    #[must_use]
    pub fn after(&self, sequence: u64, limit: usize) -> Option<News> {
        let kept = self.lock();
        if !(kept.from..=kept.seen).contains(&sequence) {
            return None;
        }
        let first = kept.ended.partition_point(|e| e.sequence <= sequence);
        let rest = kept.ended.len() - first;
        let ended: Vec<_> = kept.ended.iter().skip(first).take(limit).cloned().collect();
        let last = ended.last().map(|e| e.sequence);
        let all = ended.len() == rest;
        Some(News {
            sequence: last.filter(|_| !all).unwrap_or(kept.seen),
            ended,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::conformance::{event, session_row};

    fn see(ends: &Ends, sequence: u64, cause: Option<EndCause>) {
        let row = session_row(u8::try_from(sequence % 200).unwrap());
        ends.saw(sequence, &event(&row, cause));
    }

    fn sequences(news: Option<News>) -> (Vec<u64>, u64) {
        let news = news.unwrap();
        let ended = news.ended.iter().map(|e| e.sequence).collect();
        (ended, news.sequence)
    }

    #[test]
    fn ended_sessions_are_read_after_a_position_page_by_page() {
        let ends = Ends::from(10);
        for sequence in 11..=15 {
            let cause = (sequence % 2 == 1).then_some(EndCause::Logout);
            see(&ends, sequence, cause);
        }
        see(&ends, 16, None);
        assert_eq!(ends.newest(), 16);
        assert_eq!(sequences(ends.after(10, 9)), (vec![11, 13, 15], 16));
        assert_eq!(sequences(ends.after(10, 2)), (vec![11, 13], 13));
        assert_eq!(sequences(ends.after(13, 2)), (vec![15], 16));
        assert_eq!(sequences(ends.after(16, 2)), (vec![], 16));
        assert_eq!(ends.after(9, 9), None, "from before this process");
        assert_eq!(ends.after(17, 9), None, "from the future");
    }

    #[test]
    fn a_gap_and_an_overflow_invalidate_older_positions() {
        let ends = Ends::from(0);
        see(&ends, 1, Some(EndCause::Logout));
        see(&ends, 5, Some(EndCause::Logout));
        assert_eq!(ends.after(1, 9), None);
        assert_eq!(sequences(ends.after(4, 9)), (vec![5], 5));
        for sequence in 6..=5 + KEPT as u64 {
            see(&ends, sequence, Some(EndCause::Logout));
        }
        assert_eq!(ends.after(4, 9), None);
        assert_eq!(ends.after(5, KEPT).unwrap().ended.len(), KEPT);
    }
}
