//! The latest ended sessions and moved keys, in memory, so that one read of the store serves all waiting gateways. Decides
//! whether a reader's position is still covered. Must not know the store.

use berth_store::{EndCause, Event};
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of changes kept. A reader that is further behind has missed some.
const MAX_CHANGES: usize = 16_384;

/// One entry of the log that gateways must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedChange {
    /// Its sequence number in the log.
    pub sequence: u64,
    pub change: Change,
}

/// What has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    SessionEnded {
        session_ref: Arc<str>,
        cause: EndCause,
    },
    KeyMoved {
        key: Arc<str>,
        epoch: u64,
    },
}

impl Change {
    fn from_event(event: &Event) -> Option<Self> {
        if let Some(moved) = &event.moved {
            return Some(Self::KeyMoved {
                key: moved.key.as_str().into(),
                epoch: moved.epoch,
            });
        }
        Some(Self::SessionEnded {
            session_ref: event.session_ref.as_str().into(),
            cause: event.cause?,
        })
    }
}

/// The latest changes, in the order of the log.
#[derive(Debug)]
pub struct LogWindow(Mutex<Window>);

#[derive(Debug)]
struct Window {
    /// All changes after this sequence number are kept.
    complete_after: u64,
    /// Sequence number of the last entry that was appended.
    last_sequence: u64,
    changes: VecDeque<LoggedChange>,
}

/// The changes after a reader's position.
#[derive(Debug, PartialEq, Eq)]
pub struct ChangesSince {
    pub changes: Vec<LoggedChange>,
    /// The reader's next position.
    pub sequence: u64,
}

impl LogWindow {
    pub(super) fn starting_after(last_sequence: u64) -> Self {
        Self(Mutex::new(Window {
            complete_after: last_sequence,
            last_sequence,
            changes: VecDeque::new(),
        }))
    }

    /// Records an entry of the log. Only what gateways must act on is kept, but every entry advances the position.
    pub(super) fn append(&self, sequence: u64, event: &Event) {
        let mut state = self.lock();
        if sequence > state.last_sequence.saturating_add(1) {
            // Entries are missing: a reader before the gap may have missed a change.
            state.changes.clear();
            state.complete_after = sequence.saturating_sub(1);
        }
        state.last_sequence = sequence;
        let Some(change) = Change::from_event(event) else {
            return;
        };
        if state.changes.len() >= MAX_CHANGES
            && let Some(oldest) = state.changes.pop_front()
        {
            state.complete_after = oldest.sequence;
        }
        state.changes.push_back(LoggedChange { sequence, change });
    }

    /// Continues from an earlier position, because the log was rolled back. All positions of readers become invalid.
    pub(super) fn rewind(&self, newest_sequence: u64) {
        let mut state = self.lock();
        state.changes.clear();
        (state.complete_after, state.last_sequence) = (newest_sequence, newest_sequence);
    }

    /// The position after the last entry that this process has processed.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.lock().last_sequence
    }

    /// The changes after a position, at most `limit`; `None` when the position is not covered.
    #[must_use]
    pub fn read_after(&self, sequence: u64, limit: usize) -> Option<ChangesSince> {
        let state = self.lock();
        if !(state.complete_after..=state.last_sequence).contains(&sequence) {
            return None;
        }
        let first = state.changes.partition_point(|e| e.sequence <= sequence);
        let remaining = state.changes.len() - first;
        let entries: Vec<_> = state
            .changes
            .iter()
            .skip(first)
            .take(limit)
            .cloned()
            .collect();
        let last_sequence = entries.last().map(|e| e.sequence);
        let is_complete = entries.len() == remaining;
        Some(ChangesSince {
            sequence: last_sequence
                .filter(|_| !is_complete)
                .unwrap_or(state.last_sequence),
            changes: entries,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Window> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::conformance::{event, session_row};

    fn append_event(log_window: &LogWindow, sequence: u64, cause: Option<EndCause>) {
        let row = session_row(u8::try_from(sequence % 200).unwrap());
        log_window.append(sequence, &event(&row, cause));
    }

    fn sequences(since: Option<ChangesSince>) -> (Vec<u64>, u64) {
        let changes_since = since.unwrap();
        let entries = changes_since.changes.iter().map(|e| e.sequence).collect();
        (entries, changes_since.sequence)
    }

    #[test]
    fn log_window_are_read_after_a_position_page_by_page() {
        let log_window = LogWindow::starting_after(10);
        for sequence in 11..=15 {
            let cause = (sequence % 2 == 1).then_some(EndCause::Logout);
            append_event(&log_window, sequence, cause);
        }
        append_event(&log_window, 16, None);
        assert_eq!(log_window.position(), 16);
        assert_eq!(
            sequences(log_window.read_after(10, 9)),
            (vec![11, 13, 15], 16)
        );
        assert_eq!(sequences(log_window.read_after(10, 2)), (vec![11, 13], 13));
        assert_eq!(sequences(log_window.read_after(13, 2)), (vec![15], 16));
        assert_eq!(sequences(log_window.read_after(16, 2)), (vec![], 16));
        assert_eq!(
            log_window.read_after(9, 9),
            None,
            "from before this process"
        );
        assert_eq!(log_window.read_after(17, 9), None, "from the future");
    }

    #[test]
    fn a_gap_and_an_overflow_invalidate_older_positions() {
        let log_window = LogWindow::starting_after(0);
        append_event(&log_window, 1, Some(EndCause::Logout));
        append_event(&log_window, 5, Some(EndCause::Logout));
        assert_eq!(log_window.read_after(1, 9), None);
        assert_eq!(sequences(log_window.read_after(4, 9)), (vec![5], 5));
        for sequence in 6..=5 + MAX_CHANGES as u64 {
            append_event(&log_window, sequence, Some(EndCause::Logout));
        }
        assert_eq!(log_window.read_after(4, 9), None);
        assert_eq!(
            log_window.read_after(5, MAX_CHANGES).unwrap().changes.len(),
            MAX_CHANGES
        );
    }
}
