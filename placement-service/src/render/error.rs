//! Why no files are written.

use crate::config::fault::Faults;

/// Settings that the edge cannot express, or a fault of a template.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Config(#[from] Faults),
    /// A fault of Berth itself.
    #[error("the template of {name}: {source}")]
    Template {
        name: String,
        source: minijinja::Error,
    },
}
