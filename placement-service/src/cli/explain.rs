//! `berth explain`: prints which engine a session would get now, and the scores and state of each engine. Fails if it
//! would get none.

use super::output::{Listing, OutputArgs};
use super::service_client::ServiceArgs;
use super::{Failure, print};
use reqwest::Method;
use serde_json::Value;

const COLUMNS: [&str; 7] = [
    "ENGINE", "OUTCOME", "STATE", "SESSIONS", "RESERVED", "TOTAL", "SCORES",
];

#[derive(clap::Args)]
pub(super) struct ExplainArgs {
    /// The path of the WebSocket, such as /app/sales.qvf.
    path: String,
    /// The host of the request, for routes with one.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The session's name, as `berth sessions ls` prints it: it may have an engine session already.
    #[arg(long, value_name = "SESSION", allow_hyphen_values = true)]
    session: Option<String>,
    /// The name of the browser tab.
    #[arg(long, value_name = "NAME")]
    tab: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Asks the running service, and prints its answer.
pub(super) async fn run(command: ExplainArgs) -> Result<(), Failure> {
    let mut query = vec![("path", command.path.as_str())];
    query.extend(command.host.as_deref().map(|host| ("host", host)));
    query.extend(command.session.as_deref().map(|s| ("session", s)));
    query.extend(command.tab.as_deref().map(|t| ("tab", t)));
    let service = command.service.build_client()?;
    let path = ["v1", "placements", "explain"];
    let answer = service.send_request(Method::GET, &path, &query).await?;
    let field = |name: &str| format_value(answer.get(name));
    let (pool, engine, reason) = (field("pool"), field("engine"), field("reason"));
    if command.output.is_table() {
        print(&format!("pool {pool}: {engine} ({reason})"))?;
        print(&format!(
            "available sessions {}, queue length {}, attached to {}, streams {}",
            field("available_sessions"),
            field("queue_length"),
            field("attached_to"),
            field("streams")
        ))?;
        if let Some(key) = answer.get("key").filter(|key| !key.is_null()) {
            let field = |name: &str| format_value(key.get(name));
            print(&format!(
                "key {} ({}): engine {}, streams {}, idle left {} s",
                field("key"),
                field("mode"),
                field("engine"),
                field("streams"),
                field("idle_left_s")
            ))?;
        }
    }
    let engines = answer.get("engines").and_then(Value::as_array);
    let rows = engines.into_iter().flatten().map(engine_row).collect();
    let is_placed = answer.get("engine").is_some_and(Value::is_string);
    command.output.print(&Listing {
        columns: &COLUMNS,
        rows,
        names: is_placed
            .then(|| format!("{pool}/{engine}"))
            .into_iter()
            .collect(),
        json: answer,
    })?;
    if is_placed {
        return Ok(());
    }
    Err(Failure(format!(
        "no engine of the pool {pool} can take it: {reason}"
    )))
}

fn engine_row(engine: &Value) -> Vec<String> {
    let field = |name: &str| format_value(engine.get(name));
    let scores = engine.get("scores").and_then(Value::as_object);
    let scores = scores.into_iter().flatten().map(|(name, score)| {
        let value = format_value(score.get("score"));
        let weight = format_value(score.get("weight"));
        format!("{name} {value} x {weight}")
    });
    let document = engine.get("holds_document") == Some(&Value::Bool(true));
    let document = document.then(|| "holds the document".to_owned());
    let notes: Vec<String> = scores.chain(document).collect();
    vec![
        field("engine"),
        field("outcome"),
        field("state"),
        field("sessions"),
        field("reserved"),
        field("total"),
        notes.join(", "),
    ]
}

fn format_value(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(float) if number.is_f64() => format!("{float:.3}"),
            _ => number.to_string(),
        },
        Some(other) => other.to_string(),
    }
}
