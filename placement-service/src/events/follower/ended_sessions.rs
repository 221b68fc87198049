//! The latest ended sessions, in memory, so that one read of the store serves all waiting gateways. Decides whether a
//! reader's position is still covered. Must not know the store.

use berth_store::{EndCause, Event};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of ended sessions kept. A reader that is further behind has missed some.
const MAX_ENDED: usize = 16_384;

/// One ended session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSession {
    /// Sequence number of its event in the log.
    pub sequence: u64,
    pub session_ref: Arc<str>,
    pub cause: EndCause,
}

/// The latest ended sessions, in the order of the log.
#[derive(Debug)]
pub struct EndedSessions(Mutex<EndedWindow>);

#[derive(Debug)]
struct EndedWindow {
    /// All ends after this sequence number are kept.
    complete_after: u64,
    /// Sequence number of the last entry that was appended.
    last_sequence: u64,
    ended: VecDeque<EndedSession>,
}

/// The sessions that ended after a reader's position.
#[derive(Debug, PartialEq, Eq)]
pub struct EndedSince {
    pub ended: Vec<EndedSession>,
    /// The reader's next position.
    pub sequence: u64,
}

impl EndedSessions {
    pub(super) fn starting_after(last_sequence: u64) -> Self {
        Self(Mutex::new(EndedWindow {
            complete_after: last_sequence,
            last_sequence,
            ended: VecDeque::new(),
        }))
    }

    /// Records an entry of the log. Only the end of a session is kept, but every entry advances the position.
    pub(super) fn append(&self, sequence: u64, event: &Event) {
        let mut state = self.lock();
        if sequence > state.last_sequence.saturating_add(1) {
            // Entries are missing: a reader before the gap may have missed an end.
            state.ended.clear();
            state.complete_after = sequence.saturating_sub(1);
        }
        state.last_sequence = sequence;
        let Some(cause) = event.cause else { return };
        if state.ended.len() >= MAX_ENDED
            && let Some(oldest) = state.ended.pop_front()
        {
            state.complete_after = oldest.sequence;
        }
        state.ended.push_back(EndedSession {
            sequence,
            session_ref: event.session_ref.as_str().into(),
            cause,
        });
    }

    /// Continues from an earlier position, because the log was rolled back. All positions of readers become invalid.
    pub(super) fn rewind(&self, newest_sequence: u64) {
        let mut state = self.lock();
        state.ended.clear();
        (state.complete_after, state.last_sequence) = (newest_sequence, newest_sequence);
    }

    /// The position after the last entry that this process has processed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.lock().last_sequence
    }

    /// The sessions that ended after a position, at most `limit`; `None` when the position is not covered.
    #[must_use]
    pub fn read_after(&self, sequence: u64, limit: usize) -> Option<EndedSince> {
        let state = self.lock();
        if !(state.complete_after..=state.last_sequence).contains(&sequence) {
            return None;
        }
        let first = state.ended.partition_point(|e| e.sequence <= sequence);
        let remaining = state.ended.len() - first;
        let entries: Vec<_> = state
            .ended
            .iter()
            .skip(first)
            .take(limit)
            .cloned()
            .collect();
        let last_sequence = entries.last().map(|e| e.sequence);
        let is_complete = entries.len() == remaining;
        Some(EndedSince {
            sequence: last_sequence
                .filter(|_| !is_complete)
                .unwrap_or(state.last_sequence),
            ended: entries,
        })
    }

    fn lock(&self) -> MutexGuard<'_, EndedWindow> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::conformance::{event, session_row};

    fn append_event(ended_sessions: &EndedSessions, sequence: u64, cause: Option<EndCause>) {
        let row = session_row(u8::try_from(sequence % 200).unwrap());
        ended_sessions.append(sequence, &event(&row, cause));
    }

    fn sequences(since: Option<EndedSince>) -> (Vec<u64>, u64) {
        let ended_since = since.unwrap();
        let entries = ended_since.ended.iter().map(|e| e.sequence).collect();
        (entries, ended_since.sequence)
    }

    #[test]
    fn ended_sessions_are_read_after_a_position_page_by_page() {
        let ended_sessions = EndedSessions::starting_after(10);
        for sequence in 11..=15 {
            let cause = (sequence % 2 == 1).then_some(EndCause::Logout);
            append_event(&ended_sessions, sequence, cause);
        }
        append_event(&ended_sessions, 16, None);
        assert_eq!(ended_sessions.position(), 16);
        assert_eq!(
            sequences(ended_sessions.read_after(10, 9)),
            (vec![11, 13, 15], 16)
        );
        assert_eq!(
            sequences(ended_sessions.read_after(10, 2)),
            (vec![11, 13], 13)
        );
        assert_eq!(sequences(ended_sessions.read_after(13, 2)), (vec![15], 16));
        assert_eq!(sequences(ended_sessions.read_after(16, 2)), (vec![], 16));
        assert_eq!(
            ended_sessions.read_after(9, 9),
            None,
            "from before this process"
        );
        assert_eq!(ended_sessions.read_after(17, 9), None, "from the future");
    }

    #[test]
    fn a_gap_and_an_overflow_invalidate_older_positions() {
        let ended_sessions = EndedSessions::starting_after(0);
        append_event(&ended_sessions, 1, Some(EndCause::Logout));
        append_event(&ended_sessions, 5, Some(EndCause::Logout));
        assert_eq!(ended_sessions.read_after(1, 9), None);
        assert_eq!(sequences(ended_sessions.read_after(4, 9)), (vec![5], 5));
        for sequence in 6..=5 + MAX_ENDED as u64 {
            append_event(&ended_sessions, sequence, Some(EndCause::Logout));
        }
        assert_eq!(ended_sessions.read_after(4, 9), None);
        assert_eq!(
            ended_sessions.read_after(5, MAX_ENDED).unwrap().ended.len(),
            MAX_ENDED
        );
    }
}
