//! A stack with two HTTP engines, and clients of it.

use berth_harness::stack::Builder;
use berth_harness::{Call, HttpEngine, Reply, Result, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Long, because the machine may be busy.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
const HITS: &str = "wasmcustom.berth_engine_cache.result=hit";

pub(super) struct Lab {
    pub(super) stack: Stack,
    pub(super) engines: Vec<HttpEngine>,
    pub(super) cookie: String,
}

/// Two HTTP engines behind `/jup/`, by account, and behind `/rooms/{room}/`.
pub(super) async fn start_lab() -> Result<Lab> {
    start_lab_with(routes(), |builder| builder).await
}

pub(super) fn routes() -> Value {
    json!([
        {"path": "/jup/{rest}", "pool": "lab", "http": "allow", "affinity": {"key": "account"},
            "rewrite": "/{rest}", "headers": {"x-forwarded-user": "{account}"}},
        {"path": "/rooms/{room}/{rest}", "pool": "lab", "http": "allow", "affinity": {"key": "{room}"}},
        {"path": "/ws/{rest}", "pool": "lab"},
    ])
}

pub(super) async fn start_lab_with(
    routes: Value,
    change: impl FnOnce(Builder) -> Builder,
) -> Result<Lab> {
    let engines = vec![
        HttpEngine::start("lab-0").await?,
        HttpEngine::start("lab-1").await?,
    ];
    let listed: Vec<Value> = engines.iter().map(HttpEngine::to_config).collect();
    let config = json!({
        "edge": {"origins": ["https://portal.example.com"]},
        "pools": [{"name": "lab", "driver": "websocket", "cluster": "engines", "discovery": {"static": listed}}],
        "routes": routes,
    });
    let builder = Stack::builder().engines(1).service_config(&config);
    let stack = change(builder).start().await?;
    let cookie = stack.login_demo().await?;
    Ok(Lab {
        stack,
        engines,
        cookie,
    })
}

impl Lab {
    pub(super) async fn get(&self, path: &str) -> Result<Reply> {
        self.stack.send(Call::get(path).cookie(&self.cookie)).await
    }

    pub(super) async fn hits(&self) -> Result<u64> {
        Ok(self.stack.envoy.stat(HITS).await?.unwrap_or_default())
    }

    /// Sends requests until the gateway knows the engine of the key; returns the engine.
    pub(super) async fn warm_up(&self, path: &str) -> Result<String> {
        let before = self.hits().await?;
        let hit = || async {
            let reply = self.get(path).await.ok()?;
            let is_hit = reply.status == 200 && self.hits().await.ok()? > before;
            is_hit.then(|| {
                reply
                    .json()
                    .get("engine")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            })
        };
        wait::poll_until("a cached engine", LIMIT, hit).await
    }

    /// Opens a connection and sends this head, with the login cookie.
    pub(super) async fn open(&self, head: &str) -> Result<TcpStream> {
        let mut connection = TcpStream::connect(self.stack.address()).await?;
        let cookie = &self.cookie;
        let head = format!("{head} HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\n");
        connection.write_all(head.as_bytes()).await?;
        Ok(connection)
    }
}

/// Reads until the text has arrived; returns all that has.
pub(super) async fn read_until(connection: &mut TcpStream, text: &str) -> Result<String> {
    let mut all = Vec::new();
    let read = async {
        let mut chunk = [0; 4_096];
        while !String::from_utf8_lossy(&all).contains(text) {
            let size = connection.read(&mut chunk).await?;
            if size == 0 {
                let text = String::from_utf8_lossy(&all);
                return Err(berth_harness::Error::from(format!("ended with {text:?}")));
            }
            all.extend(chunk.iter().take(size));
        }
        Ok(())
    };
    tokio::time::timeout(LIMIT, read).await??;
    Ok(String::from_utf8_lossy(&all).into_owned())
}
