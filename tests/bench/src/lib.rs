//! Measures the cost of Berth and the speed of its stores. The same load runs, in turn, directly to the engines,
//! through Envoy without Berth, and through Envoy with each of Berth's drivers. Only ratios within one run are
//! meaningful.

mod aims;
mod callouts;
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
mod way;
mod world;

pub use options::Options;

use berth_harness::Result;
use results::Results;
use std::fs;
use world::World;

/// Runs every part that `options` selects. Returns the table and writes the results as JSON.
///
/// # Errors
/// When a process does not start, or every request of a load fails.
pub async fn run(options: &Options) -> Result<String> {
    let mut results = Results::new(options, Vec::new());
    if !options.ways().is_empty() {
        let mut world = World::start(options).await?;
        let memory = memory::measure(&mut world, options.held()).await?;
        results = plan::run(&mut world, options).await?;
        results.memory = memory;
        results.aims = aims::judge(&results);
    }
    if options.callouts() {
        results.callouts = callouts::measure(options).await?;
        results.aims.extend(callouts::judge(&results.callouts));
    }
    if options.stores() {
        results.stores = stores::measure(options).await?;
    }
    let path = options.out();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, serde_json::to_vec_pretty(&results)?)?;
    eprintln!("bench: results in {}", path.display());
    Ok(report::table(&results))
}
