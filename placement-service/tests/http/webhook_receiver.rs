//! A webhook receiver that misbehaves on request and records what it receives.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// How the receiver answers a request.
#[derive(Clone, Debug)]
pub(crate) enum ScriptedAnswer {
    Respond(u16, &'static str),
    /// It never answers.
    Hang,
    /// A redirect to another path of the receiver.
    Redirect,
}

/// One received request.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the receiver answered with 2xx.
    pub(crate) accepted: bool,
}

impl ReceivedRequest {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn id(&self) -> &str {
        self.header("webhook-id")
    }
}

#[derive(Default)]
struct ReceiverState {
    script: Mutex<VecDeque<ScriptedAnswer>>,
    default_answer: Mutex<Option<ScriptedAnswer>>,
    requests: Mutex<Vec<ReceivedRequest>>,
}

/// Answers as scripted, then with 204.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Arc<ReceiverState>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(ReceiverState::default());
        let router = Router::new().fallback(receive).with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Sets the answers to the next requests.
    pub(crate) fn push_answers(&self, answers: &[ScriptedAnswer]) {
        let mut script = self.shared.script.lock().unwrap();
        script.extend(answers.iter().cloned());
    }

    /// Sets the answer to all requests after the script; `None`: 204.
    pub(crate) fn set_default_answer(&self, answers: Option<ScriptedAnswer>) {
        *self.shared.default_answer.lock().unwrap() = answers;
    }

    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn accepted_requests(&self) -> Vec<ReceivedRequest> {
        self.requests()
            .into_iter()
            .filter(|got| got.accepted)
            .collect()
    }

    /// Waits until `count` requests were accepted. Returns all accepted requests.
    pub(crate) async fn wait_for_accepted(&self, count: usize) -> Vec<ReceivedRequest> {
        self.wait_until(|got| got.iter().filter(|got| got.accepted).count() >= count)
            .await;
        self.accepted_requests()
    }

    /// Waits until the received requests satisfy `such`.
    pub(crate) async fn wait_until(&self, such: impl Fn(&[ReceivedRequest]) -> bool) {
        for _ in 0..2000 {
            if such(&self.requests()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited for too long: {:?}", self.requests());
    }
}

async fn receive(
    State(shared): State<Arc<ReceiverState>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let scripted = shared.script.lock().unwrap().pop_front();
    let otherwise = shared.default_answer.lock().unwrap().clone();
    let answers = scripted
        .or(otherwise)
        .unwrap_or(ScriptedAnswer::Respond(204, ""));
    let taken = matches!(answers, ScriptedAnswer::Respond(200..300, _));
    shared.requests.lock().unwrap().push(ReceivedRequest {
        path: uri.path().to_owned(),
        headers,
        body: body.to_vec(),
        accepted: taken,
    });
    match answers {
        ScriptedAnswer::Respond(status, body) => {
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        ScriptedAnswer::Hang => std::future::pending().await,
        ScriptedAnswer::Redirect => (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "/elsewhere")],
        )
            .into_response(),
    }
}
