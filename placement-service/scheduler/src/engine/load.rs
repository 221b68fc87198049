//! The numbers of a probe: load and memory of one engine.

use serde::{Deserialize, Serialize};

/// The numbers of a probe. A number that the engine does not report is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Sessions on the engine.
    pub sessions: Option<u32>,
    /// Memory, MB.
    pub memory: Option<Memory>,
    /// Share of the machine's CPU in use, 0 to 1.
    pub cpu: Option<f64>,
    /// The engine reports itself saturated.
    pub saturated: bool,
    /// Names of the documents in memory, sorted, each once; at most [`Load::MAX_DOCUMENTS`].
    pub documents: Vec<String>,
}

impl Load {
    /// Document names kept per engine.
    pub const MAX_DOCUMENTS: usize = 1000;

    /// Whether the document is in memory.
    #[must_use]
    pub fn holds(&self, document: &str) -> bool {
        self.documents
            .binary_search_by(|open_document| open_document.as_str().cmp(document))
            .is_ok()
    }
}

/// Memory of an engine, MB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Used by the engine.
    pub committed: f64,
    /// Still free on its machine.
    pub free: f64,
}

impl Memory {
    /// The free share of the memory that the engine can use, 0 to 1.
    #[must_use]
    pub fn headroom(self) -> f64 {
        let total = self.committed + self.free;
        if total > 0.0 {
            (self.free / total).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}
