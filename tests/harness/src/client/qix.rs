//! The part of the QIX protocol that the tests need: JSON-RPC 2.0 over text frames.

use super::{Upgrade, WebSocket};
use crate::Result;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// The handle of the global object.
pub const GLOBAL: i64 = -1;

/// A QIX session over one WebSocket.
pub struct Qix {
    /// The underlying WebSocket.
    pub socket: WebSocket,
    /// `qSessionState` of the engine's first message: `SESSION_CREATED` or `SESSION_ATTACHED`.
    pub session_state: String,
    last_id: u64,
}

impl Qix {
    /// Takes the response to an upgrade and waits for the engine's `OnConnected`.
    ///
    /// # Errors
    /// When the upgrade was rejected or the first message is not `OnConnected`.
    pub async fn open(upgrade: Upgrade) -> Result<Self> {
        let mut socket = upgrade.into_socket()?;
        let hello = read_message(&mut socket).await?;
        let state = hello
            .pointer("/params/qSessionState")
            .and_then(Value::as_str)
            .ok_or_else(|| format!("no OnConnected: {hello}"))?;
        Ok(Self {
            session_state: state.to_owned(),
            socket,
            last_id: 0,
        })
    }

    /// Calls a method and returns its `result`.
    ///
    /// # Errors
    /// With the engine's `error`, or when the socket breaks.
    pub async fn call(&mut self, handle: i64, method: &str, params: Value) -> Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let request = json!({"jsonrpc": "2.0", "id": id, "handle": handle, "method": method, "params": params});
        self.socket.send(Message::text(request.to_string())).await?;
        loop {
            let answer = read_message(&mut self.socket).await?;
            if answer.get("id") == Some(&id.into()) {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}").into()),
                    None => Ok(answer.get("result").cloned().unwrap_or_default()),
                };
            }
        }
    }
}

async fn read_message(socket: &mut WebSocket) -> Result<Value> {
    match socket.next_message().await? {
        Message::Text(text) => Ok(serde_json::from_str(&text)?),
        other => Err(format!("not a QIX message: {other:?}").into()),
    }
}
