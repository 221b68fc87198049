//! The command line of the benchmark: progress on standard error, one table on standard output.

use berth_bench::{Options, run};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    io::{self, Write},
    process::ExitCode,
};

// One thread, so that the load generator leaves the processor to the measured processes.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    allow_many_sockets();
    let result = match run(&options).await {
        Ok(table) => io::stdout().write_all(table.as_bytes()),
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    result.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// Raises the soft limit of open files to the hard limit, for this process and its children.
fn allow_many_sockets() {
    let limit = getrlimit(Resource::Nofile);
    let raised_limit = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised_limit) {
        eprintln!(
            "bench: the limit of open files stays at {:?}: {error}",
            limit.current
        );
    }
}
