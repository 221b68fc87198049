//! `berth engines`: lists, drains and undrains engines through the running service.

use super::drain_wait::{DrainWait, OpenStreams, drain_duration};
use super::output::{Listing, OutputArgs, cell};
use super::service_client::{ServiceArgs, ServiceClient};
use super::{Failure, print};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

const COLUMNS: [&str; 8] = [
    "POOL", "ENGINE", "ADDRESS", "STATE", "DRAIN", "SESSIONS", "FREE MB", "CPU",
];

#[derive(Subcommand)]
pub(super) enum EnginesCommand {
    /// List engines: pool, engine, address, state, whether it is drained, sessions, free memory in MB, CPU in use
    /// (0 to 1).
    Ls {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Drain an engine: it gets no new sessions, and its WebSockets are closed, spread over a time.
    Drain {
        /// The engine, or POOL/ENGINE if several pools have an engine of that name.
        #[arg(value_name = "ENGINE")]
        engine: String,
        /// The time over which its WebSockets are closed.
        #[arg(long, value_name = "TIME", default_value = "60s")]
        over: String,
        /// Wait until no gateway of the service reports an open WebSocket there, and fail if some do 15 s after that
        /// time.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// End the drain of an engine: it gets new sessions again.
    Undrain {
        /// The engine, or POOL/ENGINE.
        #[arg(value_name = "ENGINE")]
        engine: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

/// Runs the command.
pub(super) async fn run(command: EnginesCommand) -> Result<(), Failure> {
    match command {
        EnginesCommand::Ls { output, service } => {
            let (listed, _) = service.build_client()?.fetch_list("engines").await?;
            output.print(&Listing {
                columns: &COLUMNS,
                rows: listed.iter().map(engine_row).collect(),
                names: listed.iter().map(full_name).collect(),
                json: Value::Array(listed),
            })
        }
        EnginesCommand::Drain {
            engine,
            over,
            wait,
            service,
        } => drain(&service.build_client()?, &engine, &over, wait).await,
        EnginesCommand::Undrain { engine, service } => {
            let service = service.build_client()?;
            let (pool, name) = find_engine(&service, &engine).await?;
            let path = ["v1", "engines", &pool, &name, "drain"];
            service.send_request(Method::DELETE, &path, &[]).await?;
            print(&format!("{pool}/{name} is no longer drained"))
        }
    }
}

async fn drain(
    service: &ServiceClient,
    engine: &str,
    over: &str,
    wait: bool,
) -> Result<(), Failure> {
    let (pool, name) = find_engine(service, engine).await?;
    let path = ["v1", "engines", &pool, &name, "drain"];
    let query = [("over", over)];
    let drained = service.send_request(Method::POST, &path, &query).await?;
    let full_name = format!("{pool}/{name}");
    print(&format!("{full_name} is drained"))?;
    if !wait {
        return Ok(());
    }
    let drain = DrainWait {
        name: &full_name,
        over: drain_duration(&drained),
        settle: Duration::ZERO,
    };
    drain
        .wait(async || {
            let (listed, _) = service.fetch_list("engines").await?;
            let mut engines = listed.iter();
            let engine = engines.find(|e| cell(e, "pool") == pool && cell(e, "engine") == name);
            // An engine that discovery does not list any more has no WebSockets.
            let streams = engine.and_then(|e| e.get("streams")?.as_u64());
            let open = streams.unwrap_or(0);
            Ok(OpenStreams {
                open,
                complete: true,
            })
        })
        .await?;
    print(&format!("{full_name} has no open WebSockets"))
}

/// Finds the pool and the name of the engine that an argument names.
async fn find_engine(service: &ServiceClient, name: &str) -> Result<(String, String), Failure> {
    let (listed, _) = service.fetch_list("engines").await?;
    let all = listed.iter().map(|e| (cell(e, "pool"), cell(e, "engine")));
    let matches: Vec<_> = all
        .filter(|(pool, engine)| engine == name || format!("{pool}/{engine}") == name)
        .collect();
    match matches.as_slice() {
        [one] => Ok(one.clone()),
        [] => match name.split_once('/') {
            // POOL/ENGINE needs no match: the engine may be gone for a moment.
            Some((pool, engine)) => Ok((pool.to_owned(), engine.to_owned())),
            None => Err(Failure(format!("there is no engine {name:?}"))),
        },
        [(pool, _), ..] => Err(Failure(format!(
            "several pools have an engine {name:?}: name it as {pool}/{name}"
        ))),
    }
}

/// The name that is unique among all pools.
fn full_name(engine: &Value) -> String {
    format!("{}/{}", cell(engine, "pool"), cell(engine, "engine"))
}

fn engine_row(engine: &Value) -> Vec<String> {
    let is_draining = engine.get("draining") == Some(&Value::Bool(true));
    let draining = if is_draining { "draining" } else { "" };
    let text = |field| cell(engine, field);
    vec![
        text("pool"),
        text("engine"),
        text("address"),
        text("state"),
        draining.to_owned(),
        text("sessions"),
        text("memory_free"),
        text("cpu"),
    ]
}
