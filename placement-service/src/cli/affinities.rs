//! `berth affinities`: lists and releases the keys of the running service that have an engine.

use super::service_client::ServiceArgs;
use super::{Failure, print};
use clap::{ArgAction, Subcommand};
use reqwest::Method;
use serde_json::Value;

#[derive(Subcommand)]
pub(super) enum AffinitiesCommand {
    /// List the keys of a pool that have an engine, one per line, separated by tabs: engine, key, epoch, WebSockets
    /// that the replica counts, latest activity and end without further activity in Unix milliseconds.
    Ls {
        /// The pool.
        #[arg(value_name = "POOL")]
        pool: String,
        /// Only the keys of this engine.
        #[arg(long, value_name = "ENGINE")]
        engine: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
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
            json,
            service,
        } => {
            let service = service.build_client()?;
            let path = ["v1", "affinities"];
            let mut listed: Vec<Value> = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let mut query = vec![("pool", pool.as_str())];
                query.extend(engine.as_deref().map(|engine| ("engine", engine)));
                query.extend(after.as_deref().map(|after| ("after", after)));
                let page = service.send_request(Method::GET, &path, &query).await?;
                let keys = page.get("affinities").and_then(Value::as_array);
                if json {
                    listed.extend(keys.into_iter().flatten().cloned());
                } else {
                    for key in keys.into_iter().flatten() {
                        print(&key_line(key))?;
                    }
                }
                let next = page.get("next").and_then(Value::as_str);
                match next {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            if json {
                print(&serde_json::to_string_pretty(&listed)?)?;
            }
            Ok(())
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

fn key_line(key: &Value) -> String {
    let fields = [
        "engine",
        "key",
        "epoch",
        "streams",
        "last_active_at_ms",
        "expires_at_ms",
    ];
    let text = |field| match key.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    fields.map(text).join("\t")
}
