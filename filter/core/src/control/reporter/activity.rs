//! The sessions or keys whose clients were active since the last report. Each is reported at most once in an interval,
//! and activity waits for a moment so that it is sent in batches. Bounded in number. Knows no report; times are
//! milliseconds of any clock.

use super::MAX_QUEUED;
use crate::streams::ACTIVITY_INTERVAL_MS;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Milliseconds that activity may wait to be batched.
const DELAY_MS: u64 = 500;

/// The active ones of one kind.
#[derive(Debug, Default)]
pub(super) struct Activity {
    queued: HashSet<Rc<str>>,
    queued_since: u64,
    /// When each was queued last.
    mentioned: HashMap<Rc<str>, u64>,
    cleared_at: u64,
}

impl Activity {
    /// A client was active.
    pub(super) fn add(&mut self, name: &str, now: u64) {
        let is_recent = |queued_at: &u64| now < queued_at.saturating_add(ACTIVITY_INTERVAL_MS);
        if self.mentioned.get(name).is_some_and(is_recent) {
            return;
        }
        if !is_recent(&self.cleared_at) {
            self.cleared_at = now;
            self.mentioned.retain(|_, queued_at| is_recent(queued_at));
        }
        let name: Rc<str> = name.into();
        if self.mentioned.len() < MAX_QUEUED {
            self.mentioned.insert(Rc::clone(&name), now);
        }
        if self.queued.is_empty() {
            self.queued_since = now;
        }
        if self.queued.len() < MAX_QUEUED {
            self.queued.insert(name);
        }
    }

    /// The clock has moved back: the age of the last reports is unknown.
    pub(super) fn clock_moved_back(&mut self, now: u64) {
        self.mentioned.clear();
        self.cleared_at = self.cleared_at.min(now);
        self.queued_since = self.queued_since.min(now);
    }

    /// Whether any is queued.
    pub(super) fn is_pending(&self) -> bool {
        !self.queued.is_empty()
    }

    /// Whether a report is due.
    pub(super) fn is_due(&self, now: u64) -> bool {
        self.is_pending() && now >= self.queued_since.saturating_add(DELAY_MS)
    }

    /// Takes as many as fit.
    pub(super) fn take(&mut self, capacity: &mut usize) -> Vec<Rc<str>> {
        let taken: Vec<Rc<str>> = self.queued.iter().take(*capacity).map(Rc::clone).collect();
        for name in &taken {
            self.queued.remove(name);
        }
        *capacity = capacity.saturating_sub(taken.len());
        taken
    }

    /// Their report has failed: queues them again.
    pub(super) fn put_back(&mut self, names: Vec<Rc<str>>) {
        self.queued.extend(names);
    }

    /// The greater of what is queued and what is remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.queued.len().max(self.mentioned.len())
    }
}
