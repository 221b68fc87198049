//! JSON-RPC 2.0 as a QIX engine speaks it: the global handle is -1, the open document has handle 1.
//!
//! Error codes above 0 are those of the engine (qlik.dev, JSON-RPC API, errors), those below -32000 are JSON-RPC's.
//! Answers are never deltas; a client must accept complete answers.

use crate::{
    engine::SharedState,
    sessions::{Attachment, OpenApp},
    socket::sleep_unless_zero,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

const GLOBAL: i64 = -1;
const DOC: i64 = 1;

/// An app is open in this session already.
const ALREADY_OPEN: i64 = 1002;
/// There is no such app.
const NOT_FOUND: i64 = 1003;

/// An unsolicited notification.
pub(crate) const CHATTER: &str = r#"{"jsonrpc":"2.0","method":"OnChatter","params":{}}"#;

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: Option<Value>,
    method: String,
    #[serde(default)]
    handle: Option<i64>,
    #[serde(default)]
    params: Value,
}

struct RpcError {
    code: i64,
    parameter: String,
    message: &'static str,
}

impl RpcError {
    fn new(code: i64, parameter: impl Into<String>, message: &'static str) -> Self {
        let parameter = parameter.into();
        Self {
            code,
            parameter,
            message,
        }
    }

    fn body(&self, id: &Value) -> String {
        let error = json!({
            "code": self.code, "parameter": self.parameter, "message": self.message,
        });
        json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string()
    }
}

/// The first notification on every socket.
pub(crate) fn on_connected(state: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"OnConnected","params":{{"qSessionState":"{state}"}}}}"#)
}

/// The answer to one text frame; `None` for a notification.
pub(crate) async fn answer_frame(
    text: &str,
    attachment: &Attachment,
    shared: &SharedState,
) -> Option<String> {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Some(RpcError::new(-32_700, "", "Parse error").body(&Value::Null));
    };
    let Ok(request) = serde_json::from_value::<Request>(value) else {
        return Some(RpcError::new(-32_600, "", "Invalid Request").body(&Value::Null));
    };
    let started_at = Instant::now();
    shared.requests.begin();
    let outcome = dispatch(&request, attachment, shared).await;
    shared.requests.end(started_at.elapsed());
    let id = request.id?;
    Some(match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string(),
        Err(failure) => failure.body(&id),
    })
}

async fn dispatch(
    request: &Request,
    attachment: &Attachment,
    shared: &SharedState,
) -> Result<Value, RpcError> {
    match (request.handle.unwrap_or(GLOBAL), request.method.as_str()) {
        (GLOBAL, "EngineVersion") => {
            let version = &shared.options.engine_version;
            Ok(json!({"qVersion": {"qComponentVersion": version}}))
        }
        (GLOBAL, "GetDocList") => Ok(json!({"qDocList": doc_list(shared)})),
        (GLOBAL, "GetActiveDoc") => Ok(match attachment.app() {
            Some(app) => json!({"qReturn": doc(&app)}),
            None => json!({"qReturn": {"qType": null, "qHandle": null}}),
        }),
        (GLOBAL, "OpenDoc") => open_doc(request, attachment, shared).await,
        (GLOBAL, "CreateSessionApp") => create_session_app(attachment, shared).await,
        (DOC, "GetAppLayout") => {
            let app = attachment.app().ok_or_else(|| invalid_handle(DOC))?;
            Ok(json!({"qLayout": layout(&app)}))
        }
        (GLOBAL | DOC, method) => Err(RpcError::new(-32_601, method, "Method not found")),
        (handle, _) => Err(invalid_handle(handle)),
    }
}

fn invalid_handle(handle: i64) -> RpcError {
    RpcError::new(-32_602, handle.to_string(), "Invalid handle")
}

async fn open_doc(
    request: &Request,
    attachment: &Attachment,
    shared: &SharedState,
) -> Result<Value, RpcError> {
    // Clients send the parameter by name or by position.
    let name = request
        .params
        .get("qDocName")
        .or_else(|| request.params.get(0));
    let Some(name) = name.and_then(Value::as_str) else {
        return Err(RpcError::new(-32_602, "qDocName", "Invalid params"));
    };
    sleep_unless_zero(shared.faults.read(|faults| faults.slow_open_ms)).await;
    let Some(document) = shared.documents.open(name).await else {
        return Err(RpcError::new(NOT_FOUND, name, "App not found"));
    };
    let app = open_app(attachment, OpenApp::Document(document))?;
    Ok(json!({"qReturn": doc(&app)}))
}

async fn create_session_app(
    attachment: &Attachment,
    shared: &SharedState,
) -> Result<Value, RpcError> {
    sleep_unless_zero(shared.faults.read(|faults| faults.slow_open_ms)).await;
    let id = format!("SessionApp_{}", Uuid::new_v4());
    let app = open_app(attachment, OpenApp::SessionApp(id))?;
    Ok(json!({"qSessionAppId": app.id(), "qReturn": doc(&app)}))
}

/// Opening the app that is already open succeeds; opening another one fails.
fn open_app(attachment: &Attachment, app: OpenApp) -> Result<OpenApp, RpcError> {
    match attachment.open(app.clone()) {
        Some(now) if now == app => Ok(app),
        _ => Err(RpcError::new(ALREADY_OPEN, app.id(), "App already open")),
    }
}

fn doc(app: &OpenApp) -> Value {
    json!({"qType": "Doc", "qHandle": DOC, "qGenericId": app.id()})
}

fn layout(app: &OpenApp) -> Value {
    let title = app.id().trim_end_matches(".qvf");
    let is_session_app = matches!(app, OpenApp::SessionApp(_));
    json!({
        "qTitle": title, "qFileName": app.id(), "qHasData": true, "qHasScript": true,
        "qIsSessionApp": is_session_app, "qMeta": {}, "qThumbnail": {},
    })
}

fn doc_list(shared: &SharedState) -> Vec<Value> {
    let entry = |name: &str| {
        let title = name.trim_end_matches(".qvf");
        json!({"qDocName": name, "qDocId": name, "qTitle": title, "qMeta": {}})
    };
    shared.documents.names().map(entry).collect()
}
