//! `berth check`: reports all faults of a configuration file at once.

use super::{Failure, print};
use berth_placement::app::secrets;
use berth_placement::config::load;
use std::path::Path;

/// Prints the warnings and `ok`, or fails with the faults.
pub(super) fn run(file: &Path, without_secrets: bool) -> Result<(), Failure> {
    let loaded = load::from_file(file).map_err(|faults| Failure::from_faults(file, &faults))?;
    if !without_secrets {
        secrets::fetch(&loaded.config, &|name| std::env::var(name).ok())
            .map_err(|faults| Failure::from_faults(file, &faults))?;
    }
    for warning in &loaded.warnings {
        print(&format!("{}: warning: {warning}", file.display()))?;
    }
    print(&format!("{}: ok", file.display()))
}
