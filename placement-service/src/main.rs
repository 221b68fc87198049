//! The `berth` command.

mod cli;
mod memory;

use clap::Parser;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    memory::give_large_blocks_back();
    cli::Cli::parse().run().await
}
