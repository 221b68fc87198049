//! The engines whose accounting has changed since the scheduler last read it. The scheduler keeps the numbers of all
//! engines in one list and reads only these again; reading every engine's accounting for each decision costs one
//! microsecond per engine in a large pool. Knows no accounting.

use crate::EngineIndex;
use parking_lot::Mutex;
use std::sync::Arc;

/// Positions of changed engines, each once.
#[derive(Debug, Default)]
pub(crate) struct DirtySet(Mutex<Vec<EngineIndex>>);

impl DirtySet {
    /// Returns the changed engines and clears the set.
    pub(crate) fn take(&self) -> Vec<EngineIndex> {
        std::mem::take(&mut self.0.lock())
    }

    fn add(&self, index: EngineIndex) {
        let mut indices = self.0.lock();
        indices.push(index);
    }
}

/// Puts one engine into the set of its scheduler.
#[derive(Debug)]
pub(super) struct Subscription {
    dirty: Arc<DirtySet>,
    index: EngineIndex,
    is_dirty: bool,
}

impl Subscription {
    pub(super) fn new(dirty: &Arc<DirtySet>, index: EngineIndex) -> Self {
        Self {
            dirty: Arc::clone(dirty),
            index,
            is_dirty: false,
        }
    }

    /// The engine's accounting changes.
    pub(super) fn mark(&mut self) {
        if !self.is_dirty {
            self.is_dirty = true;
            self.dirty.add(self.index);
        }
    }

    /// The scheduler reads the engine's accounting.
    pub(super) const fn clear(&mut self) {
        self.is_dirty = false;
    }
}
