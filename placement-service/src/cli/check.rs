//! `berth check`: reports all faults of a configuration file at once, and all findings in files of the edge.

use super::{Failure, print};
use berth_placement::app::secrets;
use berth_placement::config::Config;
use berth_placement::config::load;
use berth_placement::render::model::EdgeModel;
use berth_placement::review::{EdgeFile, review};
use std::path::{Path, PathBuf};

/// Prints the warnings and `ok`, or fails with the faults.
pub(super) fn run(file: &Path, without_secrets: bool, edge: &[PathBuf]) -> Result<(), Failure> {
    let failure = |faults| Failure::from_faults(file, &faults);
    let mut checked = load::check_file(file).map_err(failure)?;
    if !without_secrets
        && let Err(faults) = secrets::fetch(&checked.config, &|name| std::env::var(name).ok())
    {
        checked.add_faults(faults);
    }
    let loaded = checked.finish().map_err(failure)?;
    if !edge.is_empty() {
        review_edge(file, &loaded.config, edge)?;
    }
    for warning in &loaded.warnings {
        print(&format!("{}: warning: {warning}", file.display()))?;
    }
    print(&format!("{}: ok", file.display()))
}

fn review_edge(file: &Path, config: &Config, edge: &[PathBuf]) -> Result<(), Failure> {
    let read = |file: &Path| std::fs::read_to_string(file);
    let model =
        EdgeModel::new(config, &read).map_err(|faults| Failure::from_faults(file, &faults))?;
    let files = edge.iter().map(|path| {
        let text = read(path).map_err(|error| Failure(format!("{}: {error}", path.display())))?;
        let name = path.display().to_string();
        Ok(EdgeFile { name, text })
    });
    let files = files.collect::<Result<Vec<EdgeFile>, Failure>>()?;
    let findings = review(&files, &model);
    if findings.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Err(Failure(lines.join("\n")))
}
