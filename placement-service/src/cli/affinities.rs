//! `berth affinities`: lists and releases the keys of the running service that have an engine.

use super::output::{Listing, OutputArgs, cell};
use super::service_client::{ServiceArgs, ServiceClient};
use super::{Failure, print};
use clap::{ArgAction, Subcommand};
use reqwest::Method;
use serde_json::Value;

/// A column and its field in the answer of the service.
const COLUMNS: [(&str, &str); 6] = [
    ("ENGINE", "engine"),
    ("KEY", "key"),
    ("EPOCH", "epoch"),
    ("STREAMS", "streams"),
    ("ACTIVE MS", "last_active_at_ms"),
    ("END MS", "expires_at_ms"),
];

#[derive(Subcommand)]
pub(super) enum AffinitiesCommand {
    /// List the keys of a pool that have an engine: engine, key, epoch, WebSockets that the replica counts, latest
    /// activity and end without further activity in Unix milliseconds.
    Ls {
        /// The pool.
        #[arg(value_name = "POOL")]
        pool: String,
        /// Only the keys of this engine.
        #[arg(long, value_name = "ENGINE")]
        engine: Option<String>,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Take a key away from its engine: its next request gets an engine anew. WebSockets stay open.
    // No -h: the name of a key may begin with it.
    #[command(disable_help_flag = true)]
    Release {
        /// The name of the key, as `ls` prints it.
        #[arg(value_name = "KEY", allow_hyphen_values = true)]
        key: String,
        #[command(flatten)]
        service: ServiceArgs,
        /// Print help.
        #[arg(long, action = ArgAction::Help)]
        help: Option<bool>,
    },
}

/// Runs the command.
pub(super) async fn run(command: AffinitiesCommand) -> Result<(), Failure> {
    match command {
        AffinitiesCommand::Ls {
            pool,
            engine,
            output,
            service,
        } => {
            let listed = list(&service.build_client()?, &pool, engine.as_deref()).await?;
            let row = |key: &Value| COLUMNS.map(|(_, field)| cell(key, field)).to_vec();
            output.print(&Listing {
                columns: &COLUMNS.map(|(column, _)| column),
                rows: listed.iter().map(row).collect(),
                names: listed.iter().map(|key| cell(key, "key")).collect(),
                json: Value::Array(listed),
            })
        }
        AffinitiesCommand::Release {
            key,
            service,
            help: _,
        } => {
            let service = service.build_client()?;
            let path = ["v1", "affinities", &key];
            service.send_request(Method::DELETE, &path, &[]).await?;
            print(&format!("{key} is released"))
        }
    }
}

/// The keys of all pages.
async fn list(
    service: &ServiceClient,
    pool: &str,
    engine: Option<&str>,
) -> Result<Vec<Value>, Failure> {
    let mut listed = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("pool", pool)];
        query.extend(engine.map(|engine| ("engine", engine)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let path = ["v1", "affinities"];
        let page = service.send_request(Method::GET, &path, &query).await?;
        let keys = page.get("affinities").and_then(Value::as_array);
        listed.extend(keys.into_iter().flatten().cloned());
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(listed),
        }
    }
}
