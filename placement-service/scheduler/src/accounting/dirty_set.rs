//! Which engines' books have changed since somebody looked: what a chooser has to look at again. An
//! engine is noted once until it is looked at. With it goes what its probes have taught of sessions' costs.

use crate::cost::Lesson;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lessons kept for one that does not come to learn them.
const MOST_LESSONS: usize = 4096;

/// Engines whose books have changed, and what their probes have taught.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    numbers: Vec<u32>,
    lessons: Vec<Lesson>,
}

impl Changes {
    /// Moves what has been noted to the end of both.
    pub fn take(&self, numbers: &mut Vec<u32>, lessons: &mut Vec<Lesson>) {
        let mut noted = self.noted();
        numbers.append(&mut noted.numbers);
        lessons.append(&mut noted.lessons);
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.changes.noted().numbers.push(self.number);
        }
    }

    pub(super) fn learned(&self, mut lessons: Vec<Lesson>) {
        if lessons.is_empty() {
            return;
        }
        let mut noted = self.changes.noted();
        if noted.lessons.len() < MOST_LESSONS {
            noted.lessons.append(&mut lessons);
        }
    }

    pub(super) const fn looked(&mut self) {
        self.noted = false;
    }
}
