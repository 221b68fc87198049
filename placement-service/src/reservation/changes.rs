//! Which engines' books have changed since somebody looked: what a chooser has to look at again. An
//! engine is noted once until it is looked at.

use std::sync::{Arc, Mutex, PoisonError};

/// Numbers of engines whose books have changed.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Vec<u32>>);

impl Changes {
    /// Moves what has been noted to `into`.
    pub fn take(&self, into: &mut Vec<u32>) {
        into.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn note(&self, number: u32) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(number);
    }
}

/// Who is told about one engine.
#[derive(Debug)]
pub(super) struct Listener {
    changes: Arc<Changes>,
    /// The engine's number there.
    number: u32,
    noted: bool,
}

impl Listener {
    pub(super) const fn new(changes: Arc<Changes>, number: u32) -> Self {
        Self {
            changes,
            number,
            noted: false,
        }
    }

    pub(super) fn changed(&mut self) {
        if !self.noted {
            self.noted = true;
            self.changes.note(self.number);
        }
    }

    pub(super) const fn looked(&mut self) {
        self.noted = false;
    }
}
