//! The headers of a WebSocket handshake: which ones a client sends, and which version of the protocol it requests. Decides
//! nothing.

/// The headers of a WebSocket handshake. HTTP/1.1 requires key and version (RFC 6455, section 4.1), HTTP/2 lacks them
/// (RFC 8441, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// Whether there is a `Sec-WebSocket-Key`.
    pub key: bool,
    /// What `Sec-WebSocket-Version` says.
    pub version: WebSocketVersion,
    /// Whether `Connection` names further headers besides `Upgrade`. The next server would drop these (RFC 9110,
    /// section 7.6.1).
    pub names_headers: bool,
}

/// The version of the WebSocket protocol that a client requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebSocketVersion {
    /// None: over HTTP/2, which has one version only.
    #[default]
    Unspecified,
    /// 13, the version of RFC 6455.
    Supported,
    /// Another one.
    Unsupported,
}

impl Handshake {
    /// Reads one header `Connection`. Returns whether it asks for an upgrade.
    pub(super) fn add_connection(&mut self, value: &[u8]) -> bool {
        self.names_headers |= !is_upgrade(value);
        value.split(|byte| *byte == b',').any(is_upgrade)
    }

    /// Reads one header `Sec-WebSocket-Version`.
    pub(super) fn add_version(&mut self, value: &[u8]) {
        self.version = match self.version {
            WebSocketVersion::Unsupported => WebSocketVersion::Unsupported,
            _ if value.trim_ascii() == b"13" => WebSocketVersion::Supported,
            _ => WebSocketVersion::Unsupported,
        };
    }
}

fn is_upgrade(token: &[u8]) -> bool {
    token.trim_ascii().eq_ignore_ascii_case(b"upgrade")
}
