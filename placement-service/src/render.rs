//! Writes the files of the edge (Envoy and the filter) from the configuration. `model` decides what the edge needs, the
//! templates how a target expresses it. A pure function of the configuration: writes no file and knows no secret.

mod capabilities;
pub mod difference;
mod error;
pub mod model;
mod scalar;
mod templates;

pub use error::RenderError;

use crate::config::Config;
use model::EdgeModel;
use std::io;
use std::path::Path;

/// For what files are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Envoy's configuration, and the filter's, which it refers to
    Envoy,
    /// The filter's configuration alone
    Filter,
}

impl Target {
    /// The names of its files. Each has a template.
    const fn file_names(self) -> &'static [&'static str] {
        match self {
            Self::Envoy => &["config.yaml", "filter.yaml"],
            Self::Filter => &["filter.yaml"],
        }
    }
}

/// A file of the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedFile {
    pub name: &'static str,
    pub text: String,
}

/// Writes the files of a target. `source` is the name of the configuration for the head of each file. `read` reads the
/// public keys that the configuration refers to.
///
/// # Errors
/// Every setting that the edge cannot express.
pub fn render(
    target: Target,
    config: &Config,
    source: &str,
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Vec<RenderedFile>, RenderError> {
    let model = EdgeModel::new(config, read)?;
    let names = target.file_names().iter();
    names
        .map(|name| {
            let text = templates::render(name, &model, source)?;
            Ok(RenderedFile { name, text })
        })
        .collect()
}

#[cfg(test)]
mod tests;
