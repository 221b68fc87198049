//! The messages that prepare a session on a QIX engine: its `OnConnected`, and the reply to one request. Takes messages
//! and returns progress or a fault. Must not know connections or time limits.

use super::expects_reply;
use crate::engines::drivers::DriverFault;
use crate::engines::drivers::open_target::OpenTarget;
use berth_api::Excerpt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The JSON-RPC id of the driver's only request.
const REQUEST_ID: u64 = 1;
/// The error code "App not found" (`NxLocalizedErrorCode` of the engine API).
const APP_NOT_FOUND: i64 = 1003;
const CREATE_SESSION_APP: &str =
    r#"{"jsonrpc":"2.0","id":1,"handle":-1,"method":"CreateSessionApp","params":[]}"#;

/// The request that opens the target. `None` when there is nothing to open.
///
/// # Errors
/// When the name cannot be encoded as JSON, which does not occur in practice.
pub fn open_request(open_target: &OpenTarget) -> Result<Option<String>, DriverFault> {
    Ok(match open_target {
        OpenTarget::Nothing => None,
        OpenTarget::SessionApp => Some(CREATE_SESSION_APP.to_owned()),
        OpenTarget::Document(name) => {
            let name =
                serde_json::to_string(name).map_err(|e| DriverFault::Malformed(e.to_string()))?;
            Some(format!(
                r#"{{"jsonrpc":"2.0","id":{REQUEST_ID},"handle":-1,"method":"OpenDoc","params":{{"qDocName":{name}}}}}"#
            ))
        }
    })
}

/// The progress of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Progress {
    /// No message that counts has arrived.
    Started,
    /// The session exists.
    Connected,
    /// The session exists, and the target is open.
    Done,
}

/// The state of one handshake.
#[derive(Debug)]
pub struct Handshake {
    connected: bool,
    /// The session existed before.
    attached: bool,
    opened: bool,
}

impl Handshake {
    /// A handshake before the first message.
    #[must_use]
    pub const fn new(open_target: &OpenTarget) -> Self {
        Self {
            connected: false,
            attached: false,
            opened: !expects_reply(open_target),
        }
    }

    /// The progress so far.
    #[must_use]
    pub const fn progress(&self) -> Progress {
        match (self.connected, self.opened) {
            (false, _) => Progress::Started,
            (true, false) => Progress::Connected,
            (true, true) => Progress::Done,
        }
    }

    /// Whether the session existed before. Valid once the progress is [`Progress::Connected`].
    #[must_use]
    pub const fn attached(&self) -> bool {
        self.attached
    }

    /// Applies a text message of the engine. Other notifications are skipped.
    ///
    /// # Errors
    /// When the engine refuses the session or the request, or when the message is not one of an engine.
    pub fn apply_message(&mut self, text: &str) -> Result<(), DriverFault> {
        let malformed = || DriverFault::Malformed(Excerpt(text).to_string());
        if !text.trim_ascii_start().starts_with('{') {
            return Err(malformed());
        }
        let message: Message<'_> = serde_json::from_str(text).map_err(|_| malformed())?;
        if message.method.as_deref() == Some("OnConnected") {
            let OnConnected { params } = serde_json::from_str(text).map_err(|_| malformed())?;
            self.attached = parse_session_state(&params.state)?;
            self.connected = true;
        } else if message.id == Some(REQUEST_ID) {
            match (message.error, message.result) {
                (Some(error), _) => return Err(error.into()),
                (None, Some(_)) => self.opened = true,
                (None, None) => return Err(malformed()),
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(default)]
    result: Option<IgnoredAny>,
    #[serde(borrow, default)]
    error: Option<RpcError<'a>>,
}

#[derive(Deserialize)]
struct RpcError<'a> {
    code: i64,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
}

impl From<RpcError<'_>> for DriverFault {
    fn from(error: RpcError<'_>) -> Self {
        if error.code == APP_NOT_FOUND {
            Self::NoSuchDocument
        } else {
            Self::OpenFailed {
                code: error.code,
                message: Excerpt(error.message.unwrap_or_default()).to_string(),
            }
        }
    }
}

#[derive(Deserialize)]
struct OnConnected<'a> {
    #[serde(borrow)]
    params: SessionState<'a>,
}

#[derive(Deserialize)]
struct SessionState<'a> {
    #[serde(borrow, rename = "qSessionState")]
    state: Cow<'a, str>,
}

/// Parses the session state of `OnConnected`. Returns true when the session existed before, and a fault for each state
/// other than `SESSION_CREATED` and `SESSION_ATTACHED`.
fn parse_session_state(state: &str) -> Result<bool, DriverFault> {
    match state {
        "SESSION_CREATED" => Ok(false),
        "SESSION_ATTACHED" => Ok(true),
        _ if state.contains("JWT") => Err(DriverFault::TokenRejected(Excerpt(state).to_string())),
        _ if state.starts_with("SESSION_ERROR_") => {
            Err(DriverFault::Declined(Excerpt(state).to_string()))
        }
        _ => Err(DriverFault::Malformed(Excerpt(state).to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: &str =
        r#"{"jsonrpc":"2.0","method":"OnConnected","params":{"qSessionState":"SESSION_CREATED"}}"#;
    const OPENED: &str =
        r#"{"jsonrpc":"2.0","id":1,"result":{"qReturn":{"qType":"Doc","qHandle":1}}}"#;

    fn document() -> OpenTarget {
        OpenTarget::Document("sales.qvf".into())
    }

    fn fault(text: &str) -> DriverFault {
        Handshake::new(&document()).apply_message(text).unwrap_err()
    }

    #[test]
    fn requests_are_valid_json_with_any_name() {
        let name = "a\"b\\c\u{7f}é";
        let request = open_request(&OpenTarget::Document(name.into()))
            .unwrap()
            .unwrap();
        let request: serde_json::Value = serde_json::from_str(&request).unwrap();
        assert_eq!(request["params"]["qDocName"], name);
        assert_eq!(request["id"], REQUEST_ID);
        let app: serde_json::Value = serde_json::from_str(CREATE_SESSION_APP).unwrap();
        assert_eq!(app["id"], REQUEST_ID);
    }

    #[test]
    fn connected_then_opened() {
        let mut dialog = Handshake::new(&document());
        assert_eq!(dialog.progress(), Progress::Started);
        dialog.apply_message(CREATED).unwrap();
        assert_eq!(dialog.progress(), Progress::Connected);
        dialog.apply_message(OPENED).unwrap();
        assert_eq!(dialog.progress(), Progress::Done);
    }

    #[test]
    fn the_reply_may_arrive_before_on_connected() {
        let mut dialog = Handshake::new(&document());
        dialog.apply_message(OPENED).unwrap();
        assert_eq!(dialog.progress(), Progress::Started);
        dialog.apply_message(CREATED).unwrap();
        assert_eq!(dialog.progress(), Progress::Done);
    }

    #[test]
    fn without_a_target_on_connected_completes_the_handshake() {
        let mut dialog = Handshake::new(&OpenTarget::Nothing);
        dialog.apply_message(CREATED).unwrap();
        assert_eq!(dialog.progress(), Progress::Done);
    }

    #[test]
    fn other_notifications_are_skipped() {
        let mut dialog = Handshake::new(&document());
        for text in [
            r#"{"jsonrpc":"2.0","method":"OnAuthenticationInformation","params":{"userId":"u"}}"#,
            r#"{"jsonrpc":"2.0","method":"OnLicense","params":["x"]}"#,
            r#"{"jsonrpc":"2.0","method":"OnProgress","params":null,"more":1}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        ] {
            dialog.apply_message(text).unwrap();
            assert_eq!(dialog.progress(), Progress::Started);
        }
    }

    #[test]
    fn each_refusal_has_its_fault() {
        let state = |state: &str| {
            fault(&format!(
                r#"{{"method":"OnConnected","params":{{"qSessionState":"{state}"}}}}"#
            ))
        };
        assert_eq!(
            state("SESSION_ERROR_JWT_INVALID").as_str(),
            "token-rejected"
        );
        assert_eq!(state("SESSION_ERROR_NO_LICENSE").as_str(), "declined");
        assert_eq!(state("SESSION_ERROR_LIMIT_EXCEEDED").as_str(), "declined");
        assert_eq!(state("HELLO").as_str(), "malformed");
        let missing = r#"{"jsonrpc":"2.0","id":1,"error":{"code":1003,"parameter":"x","message":"App not found"}}"#;
        assert_eq!(fault(missing), DriverFault::NoSuchDocument);
        let denied = fault(r#"{"id":1,"error":{"code":5,"message":"Access denied"}}"#);
        assert_eq!(denied.as_str(), "open-failed");
        assert!(!denied.blames_engine());
    }

    #[test]
    fn foreign_messages_are_malformed() {
        for text in [
            "",
            "hello",
            "[]",
            "{",
            r#"{"id":1}"#,
            r#"{"id":"1""#,
            r#"{"method":"OnConnected","params":[]}"#,
            r#"{"method":"OnConnected"}"#,
        ] {
            assert_eq!(fault(text).as_str(), "malformed", "{text}");
        }
    }
}
