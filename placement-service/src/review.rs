//! Reviews files of the edge that are kept by hand (Envoy's, the filter's, Istio's) against the configuration: what is
//! missing, what differs, and what would be unsafe. Every finding names its file and its place. Knows no template.

mod capabilities;
mod clusters;
mod envoy_routes;
mod filter;
mod filter_routes;
mod listener;
mod parts;
mod process;
mod tokens;

use crate::render::model::EdgeModel;
use parts::Parts;
use std::fmt;

/// A file of the edge: YAML or JSON, also with several documents.
#[derive(Clone, Debug)]
pub struct EdgeFile {
    pub name: String,
    pub text: String,
}

/// What is wrong with a file. `Display` gives one line. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    pub file: String,
    /// Such as `static_resources.clusters[0].name`; empty for the file as a whole.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Every finding, sorted by file and place. A rule about a part, such as the listener, applies if one of the files has
/// such a part.
#[must_use]
pub fn review(files: &[EdgeFile], model: &EdgeModel) -> Vec<Finding> {
    let mut findings = Vec::new();
    let documents = parts::parse(files, &mut findings);
    let parts = Parts::collect(&documents);
    for manager in &parts.managers {
        listener::review(manager, model, &mut findings);
    }
    envoy_routes::review(&parts, model, &mut findings);
    clusters::review(&parts, &mut findings);
    for wasm in &parts.filters {
        filter::review(wasm, &mut findings);
        capabilities::review(wasm, model, &mut findings);
    }
    for settings in &parts.settings {
        filter::review_settings(settings, model, &mut findings);
        tokens::review(settings, model, &mut findings);
        filter_routes::review(settings, model, &mut findings);
    }
    process::review(&parts, model, &mut findings);
    findings.sort();
    findings.dedup();
    findings
}

#[cfg(test)]
mod tests;
