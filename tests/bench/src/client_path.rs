//! The paths from a client to an engine, and the upgrade request on each.

use serde::Serialize;
use std::{fmt, net::SocketAddr};

/// A path from the client to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientPath {
    /// Directly to an engine.
    Direct,
    /// Through Envoy without Berth: the baseline of all ratios.
    Bare,
    /// Through Berth with the driver `websocket`: placed, and nothing is opened beforehand.
    Websocket,
    /// Through Berth with the driver `qix`: placed, and the document is opened beforehand.
    Qix,
}

impl ClientPath {
    pub(crate) const ALL: [Self; 4] = [Self::Direct, Self::Bare, Self::Websocket, Self::Qix];

    /// Whether Berth takes part.
    pub(crate) fn is_berth(self) -> bool {
        matches!(self, Self::Websocket | Self::Qix)
    }
}

impl fmt::Display for ClientPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Direct => "direct to engine",
            Self::Bare => "Envoy without Berth",
            Self::Websocket => "Berth, websocket",
            Self::Qix => "Berth, qix",
        })
    }
}

/// The addresses and the request of one path.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) client_path: ClientPath,
    addresses: Vec<SocketAddr>,
    path: String,
    /// Whether each request has its own path, which names its own session.
    has_unique_paths: bool,
    /// `name: value` of the client's credential.
    credential: String,
}

impl Target {
    pub(crate) fn new(client_path: ClientPath, addresses: Vec<SocketAddr>, proof: &str) -> Self {
        let (path, numbered) = match client_path {
            ClientPath::Direct | ClientPath::Bare => ("/app/bench-", true),
            ClientPath::Websocket => ("/app/ws/bench-", true),
            ClientPath::Qix => ("/app/sales.qvf", false),
        };
        Self {
            client_path,
            addresses,
            path: path.to_owned(),
            has_unique_paths: numbered,
            credential: proof.to_owned(),
        }
    }

    /// The address and the bytes of the `number`th request.
    pub(crate) fn request(&self, number: u64) -> Option<(SocketAddr, Vec<u8>)> {
        let count = u64::try_from(self.addresses.len()).ok()?;
        let index = usize::try_from(number.checked_rem(count)?).ok()?;
        let address = *self.addresses.get(index)?;
        let Self {
            path,
            credential: proof,
            ..
        } = self;
        let suffix = if self.has_unique_paths {
            number.to_string()
        } else {
            String::new()
        };
        // The key is the example of RFC 6455, section 1.3. The key in the response is not checked.
        let request = format!(
            "GET {path}{suffix} HTTP/1.1\r\nhost: {address}\r\norigin: http://{address}\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{proof}\r\n\r\n"
        );
        Some((address, request.into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_rotate_over_the_addresses_and_have_unique_paths() {
        let addresses = ["127.0.0.1:1", "127.0.0.1:2"].map(|text| text.parse().unwrap());
        let target = Target::new(ClientPath::Direct, addresses.to_vec(), "cookie: a=b");
        let (address, bytes) = target.request(3).unwrap();
        assert_eq!(address, addresses[1]);
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("GET /app/bench-3 HTTP/1.1\r\n"));
        assert!(text.ends_with("\r\ncookie: a=b\r\n\r\n"));
        assert!(
            Target::new(ClientPath::Qix, vec![], "")
                .request(0)
                .is_none()
        );
    }
}
