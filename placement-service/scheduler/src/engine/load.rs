//! The numbers of an engine, as a probe brings them.

use serde::{Deserialize, Serialize};

/// What a probe can tell. A number that the engine did not give is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Sessions on the engine.
    pub sessions: Option<u32>,
    /// Memory, MB.
    pub memory: Option<Memory>,
    /// Share of the machine's CPU in use, 0 to 1.
    pub cpu: Option<f64>,
    /// The engine's own word that it can take no more.
    pub saturated: bool,
    /// Documents in memory, by name, sorted and each once; at most [`Load::MAX_DOCUMENTS`].
    pub documents: Vec<String>,
}

impl Load {
    /// Document names kept per engine.
    pub const MAX_DOCUMENTS: usize = 1000;

    /// Whether the document is in memory.
    #[must_use]
    pub fn holds(&self, document: &str) -> bool {
        self.documents
            .binary_search_by(|held| held.as_str().cmp(document))
            .is_ok()
    }
}

/// Memory of an engine, MB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Taken by the engine.
    pub committed: f64,
    /// Still free on its machine.
    pub free: f64,
}

impl Memory {
    /// The free share of what the engine can reach, 0 to 1.
    #[must_use]
    pub fn headroom(self) -> f64 {
        let all = self.committed + self.free;
        if all > 0.0 {
            (self.free / all).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}
