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
pub(crate) enum Answers {
    With(u16, &'static str),
    /// It never answers.
    Hangs,
    /// A redirect to another path of the receiver.
    Elsewhere,
}

/// One received request.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    /// Whether the receiver answered with 2xx.
    pub(crate) taken: bool,
}

impl Got {
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
struct Shared {
    script: Mutex<VecDeque<Answers>>,
    otherwise: Mutex<Option<Answers>>,
    got: Mutex<Vec<Got>>,
}

/// Answers as scripted, then with 204.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(take).with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Sets the answers to the next requests.
    pub(crate) fn script(&self, answers: &[Answers]) {
        let mut script = self.shared.script.lock().unwrap();
        script.extend(answers.iter().cloned());
    }

    /// Sets the answer to all requests after the script; `None`: 204.
    pub(crate) fn otherwise(&self, answers: Option<Answers>) {
        *self.shared.otherwise.lock().unwrap() = answers;
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }

    pub(crate) fn taken(&self) -> Vec<Got> {
        self.got().into_iter().filter(|got| got.taken).collect()
    }

    /// Waits until `count` requests were accepted. Returns all accepted requests.
    pub(crate) async fn until_taken(&self, count: usize) -> Vec<Got> {
        self.until(|got| got.iter().filter(|got| got.taken).count() >= count)
            .await;
        self.taken()
    }

    /// Waits until the received requests satisfy `such`.
    pub(crate) async fn until(&self, such: impl Fn(&[Got]) -> bool) {
        for _ in 0..2000 {
            if such(&self.got()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited for too long: {:?}", self.got());
    }
}

async fn take(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let scripted = shared.script.lock().unwrap().pop_front();
    let otherwise = shared.otherwise.lock().unwrap().clone();
    let answers = scripted.or(otherwise).unwrap_or(Answers::With(204, ""));
    let taken = matches!(answers, Answers::With(200..300, _));
    shared.got.lock().unwrap().push(Got {
        path: uri.path().to_owned(),
        headers,
        body: body.to_vec(),
        taken,
    });
    match answers {
        Answers::With(status, body) => {
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        Answers::Hangs => std::future::pending().await,
        Answers::Elsewhere => (
            StatusCode::TEMPORARY_REDIRECT,
            [(header::LOCATION, "/elsewhere")],
        )
            .into_response(),
    }
}
