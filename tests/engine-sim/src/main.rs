//! The command line of the simulated engine: starts it, prints its addresses, ends it on a signal.

use berth_engine_sim::{Options, start};
use clap::Parser;
use std::{
    io::{self, Write},
    process::ExitCode,
};
use tokio::signal::unix::{SignalKind, signal};

/// EX_SOFTWARE of sysexits.h: the engine died of the fault `die`.
const DIED: u8 = 70;

// One thread, because each engine of a bench or demo shares the machine with all the others.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(options).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("engine-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> io::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut engine = start(options).await?;
    let mut stdout = io::stdout();
    let (api, metrics) = (engine.api_addr(), engine.metrics_addr());
    writeln!(stdout, "listening api={api} metrics={metrics}")?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = engine.wait_until_dead() => return Ok(ExitCode::from(DIED)),
    }
    engine.stop().await;
    Ok(ExitCode::SUCCESS)
}
