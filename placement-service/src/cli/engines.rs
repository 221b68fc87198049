//! `berth engines`: lists, drains and undrains engines through the running service.

use super::service_client::{ServiceArgs, ServiceClient};
use super::{Failure, print};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

#[derive(Subcommand)]
pub(super) enum EnginesCommand {
    /// List engines, one per line, separated by tabs: pool, engine, address, state, `draining` or `-`,
    /// sessions, free memory in MB, CPU in use (0 to 1).
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
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
        EnginesCommand::Ls { json, service } => {
            let (listed, _) = service.build_client()?.fetch_list("engines").await?;
            if json {
                return print(&serde_json::to_string_pretty(&listed)?);
            }
            for engine in &listed {
                print(&engine_line(engine))?;
            }
            Ok(())
        }
        EnginesCommand::Drain {
            engine,
            over,
            service,
        } => {
            let service = service.build_client()?;
            let (pool, name) = find_engine(&service, &engine).await?;
            let path = ["v1", "engines", &pool, &name, "drain"];
            let over = [("over", over.as_str())];
            service.send_request(Method::POST, &path, &over).await?;
            print(&format!("{pool}/{name} is drained"))
        }
        EnginesCommand::Undrain { engine, service } => {
            let service = service.build_client()?;
            let (pool, name) = find_engine(&service, &engine).await?;
            let path = ["v1", "engines", &pool, &name, "drain"];
            service.send_request(Method::DELETE, &path, &[]).await?;
            print(&format!("{pool}/{name} is no longer drained"))
        }
    }
}

/// Finds the pool and the name of the engine that an argument names.
async fn find_engine(service: &ServiceClient, name: &str) -> Result<(String, String), Failure> {
    let (listed, _) = service.fetch_list("engines").await?;
    let all = listed
        .iter()
        .map(|e| (field_text(e, "pool"), field_text(e, "engine")));
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

fn field_text(engine: &Value, field: &str) -> String {
    match engine.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn engine_line(engine: &Value) -> String {
    let draining = engine.get("draining").and_then(Value::as_bool);
    let draining = if draining == Some(true) {
        "draining"
    } else {
        "-"
    };
    let text = |field| field_text(engine, field);
    [
        text("pool"),
        text("engine"),
        text("address"),
        text("state"),
        draining.to_owned(),
        text("sessions"),
        text("memory_free"),
        text("cpu"),
    ]
    .join("\t")
}
