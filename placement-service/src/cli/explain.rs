//! `berth explain`: prints which engine a session would get now, and the scores and state of each engine.

use super::service_client::ServiceArgs;
use super::{Failure, print};
use reqwest::Method;
use serde_json::Value;

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
    /// Print JSON.
    #[arg(long)]
    json: bool,
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
    if command.json {
        return print(&serde_json::to_string_pretty(&answer)?);
    }
    let field = |name: &str| format_value(answer.get(name));
    let (pool, engine, reason) = (field("pool"), field("engine"), field("reason"));
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
    let engines = answer.get("engines").and_then(Value::as_array);
    for engine in engines.into_iter().flatten() {
        print(&engine_line(engine))?;
    }
    Ok(())
}

fn engine_line(engine: &Value) -> String {
    let field = |name: &str| format_value(engine.get(name));
    let mut line = format!(
        "{}\t{}\tstate {}\tsessions {} ({} reserved)\ttotal {}",
        field("engine"),
        field("outcome"),
        field("state"),
        field("sessions"),
        field("reserved"),
        field("total"),
    );
    let scores = engine.get("scores").and_then(Value::as_object);
    for (name, score) in scores.into_iter().flatten() {
        let (value, weight) = (
            format_value(score.get("score")),
            format_value(score.get("weight")),
        );
        line += &format!("\t{name} {value} x {weight}");
    }
    if engine.get("holds_document") == Some(&Value::Bool(true)) {
        line += "\tholds the document";
    }
    line
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
