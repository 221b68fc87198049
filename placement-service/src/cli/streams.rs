//! `berth streams`: lists the open WebSockets of the running service's gateways, and closes one.

use super::output::{Listing, OutputArgs, cell};
use super::service_client::{ServiceArgs, ServiceClient};
use super::{Failure, print};
use clap::{ArgAction, Subcommand};
use reqwest::Method;
use serde_json::Value;

/// A column and its field in the answer of the service.
const COLUMNS: [(&str, &str); 8] = [
    ("STREAM", "stream"),
    ("ACCOUNT", "account"),
    ("SESSION", "session_ref"),
    ("POOL", "pool"),
    ("ENGINE", "engine"),
    ("KEY", "key"),
    ("NODE", "node"),
    ("AGE S", "age_s"),
];

#[derive(Subcommand)]
pub(super) enum StreamsCommand {
    /// List open WebSockets on all replicas: name, account, session, pool, engine, key, node.id of the Envoy, age in
    /// seconds. As JSON, also the gateway.
    Ls {
        #[command(flatten)]
        filters: Filters,
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Close a WebSocket with close code 4410. Its session goes on, so the client may connect again.
    // No -h: the name of a stream may begin with it.
    #[command(disable_help_flag = true)]
    Close {
        /// The name of the stream, as `ls` prints it.
        #[arg(value_name = "STREAM", allow_hyphen_values = true)]
        stream: String,
        #[command(flatten)]
        service: ServiceArgs,
        /// Print help.
        #[arg(long, action = ArgAction::Help)]
        help: Option<bool>,
    },
}

/// Which WebSockets are listed.
#[derive(clap::Args)]
pub(super) struct Filters {
    /// Only WebSockets of this account: a local name, or PROVIDER:NAME.
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only WebSockets of this session.
    #[arg(long, value_name = "SESSION", allow_hyphen_values = true)]
    session: Option<String>,
    /// Only WebSockets of this pool.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
    /// Only WebSockets of engines of this name.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
}

/// Runs the command.
pub(super) async fn run(command: StreamsCommand) -> Result<(), Failure> {
    match command {
        StreamsCommand::Ls {
            filters,
            output,
            service,
        } => {
            let (listed, complete) = list(&service.build_client()?, &filters).await?;
            let row = |stream: &Value| COLUMNS.map(|(_, field)| cell(stream, field)).to_vec();
            output.print(&Listing {
                columns: &COLUMNS.map(|(column, _)| column),
                rows: listed.iter().map(row).collect(),
                names: listed.iter().map(|stream| cell(stream, "stream")).collect(),
                json: Value::Array(listed),
            })?;
            if complete {
                return Ok(());
            }
            let fault = "the list is incomplete: the store or a replica does not answer, or the account has too many \
                         sessions";
            Err(Failure(fault.to_owned()))
        }
        StreamsCommand::Close {
            stream,
            service,
            help: _,
        } => {
            let service = service.build_client()?;
            let path = ["v1", "streams", &stream];
            service.send_request(Method::DELETE, &path, &[]).await?;
            print(&format!("{stream} is being closed"))
        }
    }
}

/// The streams of all pages, and whether none are missing.
async fn list(service: &ServiceClient, filters: &Filters) -> Result<(Vec<Value>, bool), Failure> {
    let filters = [
        ("account", &filters.account),
        ("session", &filters.session),
        ("pool", &filters.pool),
        ("engine", &filters.engine),
    ];
    let filters = filters.map(|(name, value)| value.as_deref().map(|value| (name, value)));
    let filters: Vec<(&str, &str)> = filters.into_iter().flatten().collect();
    let (mut listed, mut complete) = (Vec::new(), true);
    let mut after: Option<String> = None;
    loop {
        let mut query = filters.clone();
        query.extend(after.as_deref().map(|after| ("after", after)));
        let path = ["v1", "streams"];
        let page = service.send_request(Method::GET, &path, &query).await?;
        let streams = page.get("streams").and_then(Value::as_array);
        listed.extend(streams.into_iter().flatten().cloned());
        complete &= page.get("complete").and_then(Value::as_bool) == Some(true);
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok((listed, complete)),
        }
    }
}
