//! The `berth` command: tunes the allocator, then runs the command line.

mod cli;

use berth_placement::app::malloc;
use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    malloc::set_mmap_threshold();
    cli::Cli::parse().run().await
}
