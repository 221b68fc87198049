//! Measures the cost of Berth and the speed of its stores. The same load runs, in turn, directly to the engines,
//! through Envoy without Berth, and through Envoy with each of Berth's drivers. Only ratios within one run are
//! meaningful.

mod callouts;
mod client_path;
mod cost_targets;
mod echo;
mod handshake;
mod load;
mod memory;
mod options;
mod plan;
mod processes;
mod report;
mod results;
mod stores;
mod testbed;

pub use options::Options;

use berth_harness::Result;
use results::Results;
use std::fs;
use testbed::Testbed;

/// Runs every part that `options` selects. Returns the table and writes the results as JSON.
///
/// # Errors
/// When a process does not start, or every request of a load fails.
pub async fn run(options: &Options) -> Result<String> {
    let mut results = Results::new(options, Vec::new());
    if !options.client_paths().is_empty() {
        let mut testbed = Testbed::start(options).await?;
        let memory = memory::measure(&mut testbed, options.held_sockets()).await?;
        results = plan::run(&mut testbed, options).await?;
        results.memory = memory;
        results.aims = cost_targets::evaluate(&results);
    }
    if options.includes_callouts() {
        results.callouts = callouts::measure(options).await?;
        results.aims.extend(callouts::evaluate(&results.callouts));
    }
    if options.includes_stores() {
        results.stores = stores::measure(options).await?;
    }
    let path = options.results_file();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, serde_json::to_vec_pretty(&results)?)?;
    eprintln!("bench: results in {}", path.display());
    Ok(report::table(&results))
}
