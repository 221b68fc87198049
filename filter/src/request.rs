//! What the filter needs to know of a request, read from its headers in one pass. Header values are
//! bytes, as Envoy passes them on; what is used as text is checked to be text first. Decides nothing
//! but what is no proper request at all.

use crate::route;

/// Headers that only the filter or the placement service may set, whatever the configuration says.
/// Compared without regard to case, and with `_` as `-`, since some servers do not tell them apart.
const TRUST_PREFIX: &[u8] = b"x-berth-";
const TRUST_HEADERS: &[&str] = &[
    "authorization",
    "x-envoy-original-dst-host",
    "x-qlik-session",
];

/// Headers that a request is read by, and that go on, besides those of a WebSocket's handshake.
const READ_HEADERS: &[&str] = &[
    "accept",
    "connection",
    "cookie",
    "host",
    "origin",
    "sec-fetch-mode",
    "upgrade",
    "x-forwarded-proto",
];

/// Whether a request is read by this header, so that it cannot be one that clients must not set.
#[must_use]
pub fn is_read(name: &str) -> bool {
    let name = name.as_bytes();
    is_prefixed(name, b"sec-websocket-")
        || READ_HEADERS
            .iter()
            .any(|own| same_name(name, own.as_bytes()))
}

/// One header as the host hands it over.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// A request's head, borrowed from the host's buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `POST` ...
    pub method: &'a str,
    /// Path and query, visible ASCII, starting with `/`.
    pub path: &'a str,
    /// Host and port as the client named them, visible ASCII.
    pub authority: &'a str,
    /// `http` or `https`: what the client used, as far as Envoy knows.
    pub scheme: &'a str,
    /// Whether it asks to become a WebSocket.
    pub upgrade: bool,
    /// The headers of a WebSocket handshake that HTTP/1.1 wants (RFC 6455, section 4.1) and HTTP/2 does not
    /// have (RFC 8441, section 5).
    pub handshake: Handshake,
    /// The page that made it, if a page did. Several headers are joined into what is no origin.
    pub origin: Option<&'a [u8]>,
    /// Every `Cookie` header.
    pub cookies: Vec<&'a [u8]>,
    /// Every `Authorization` header.
    pub authorizations: Vec<&'a [u8]>,
    /// Whether an `Accept` header names `text/html`.
    pub accepts_html: bool,
    /// `Sec-Fetch-Mode`: `navigate` for pages, others for scripts; not every client sends it.
    pub fetch_mode: Option<&'a [u8]>,
    /// The names of the headers that it must not have brought along, each once.
    pub forged: Vec<&'a str>,
}

/// Which headers of a WebSocket handshake are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `Sec-WebSocket-Key`.
    pub key: bool,
    /// `Sec-WebSocket-Version`.
    pub version: bool,
}

impl<'a> Request<'a> {
    /// Reads a request. `trust` names further headers that clients must not set.
    ///
    /// # Errors
    /// With what is wrong, in words for the client, when it is no request that can be decided on.
    pub fn read(
        headers: impl Iterator<Item = Header<'a>>,
        trust: &[String],
    ) -> Result<Self, &'static str> {
        let mut seen = Seen::default();
        let mut request = Self {
            method: "",
            path: "",
            authority: "",
            scheme: "",
            upgrade: false,
            handshake: Handshake::default(),
            origin: None,
            cookies: Vec::new(),
            authorizations: Vec::new(),
            accepts_html: false,
            fetch_mode: None,
            forged: Vec::new(),
        };
        for (name, value) in headers {
            match name {
                b":method" => seen.method = Some(value),
                b":path" => seen.path = Some(value),
                b":authority" => seen.authority = Some(value),
                b":scheme" => seen.scheme = Some(value),
                b"x-forwarded-proto" => seen.forwarded_proto = Some(value),
                b"cookie" => request.cookies.push(value),
                // Two origins are none: the empty text is not one.
                b"origin" if request.origin.is_some() => request.origin = Some(b""),
                b"origin" => request.origin = Some(value),
                b"connection" => seen.connection_upgrade |= names_upgrade(value),
                b"upgrade" => {
                    seen.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
                }
                b"sec-websocket-key" => request.handshake.key = true,
                b"sec-websocket-version" => request.handshake.version = true,
                b"accept" => request.accepts_html |= names_html(value),
                b"sec-fetch-mode" => request.fetch_mode = Some(value),
                _ if is_trust_header(name, trust) => {
                    if same_name(name, b"authorization") {
                        request.authorizations.push(value);
                    }
                    let name = str::from_utf8(name).map_err(|_| "A header's name is no text.")?;
                    if !request.forged.contains(&name) {
                        request.forged.push(name);
                    }
                }
                _ => {}
            }
        }
        request.upgrade = seen.connection_upgrade && seen.websocket;
        request.method = visible(seen.method).ok_or("The method is missing or malformed.")?;
        if request.method == "CONNECT" {
            return Err("CONNECT is not supported.");
        }
        if request.upgrade && request.method != "GET" {
            return Err("A WebSocket upgrade must be a GET.");
        }
        request.path = visible(seen.path)
            .filter(|path| path.starts_with('/') && !path.contains('#'))
            .ok_or("The path is missing or malformed.")?;
        if route::has_dot_segment(request.path) {
            return Err("The path has a segment of dots.");
        }
        request.authority = visible(seen.authority).ok_or("The host is missing or malformed.")?;
        request.scheme = visible(seen.forwarded_proto)
            .or_else(|| visible(seen.scheme))
            .unwrap_or("http");
        Ok(request)
    }
}

/// The names among a request's trailers that it must not have brought along. `trust`: as in [`Request::read`].
///
/// # Errors
/// When such a name is no text.
pub fn forged_trailers<'a>(
    trailers: impl Iterator<Item = Header<'a>>,
    trust: &[String],
) -> Result<Vec<&'a str>, std::str::Utf8Error> {
    let names = trailers.map(|(name, _)| name);
    let forged = names.filter(|name| is_trust_header(name, trust));
    forged.map(str::from_utf8).collect()
}

/// What a request has, before it is known to be sound.
#[derive(Default)]
struct Seen<'a> {
    method: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    forwarded_proto: Option<&'a [u8]>,
    connection_upgrade: bool,
    websocket: bool,
}

/// Text of at least one byte, visible ASCII only.
fn visible(value: Option<&[u8]>) -> Option<&str> {
    let value = value.filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_graphic))?;
    str::from_utf8(value).ok()
}

fn names_upgrade(connection: &[u8]) -> bool {
    connection
        .split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn names_html(accept: &[u8]) -> bool {
    accept.split(|byte| *byte == b',').any(|range| {
        let kind = range.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

fn is_trust_header(name: &[u8], configured: &[String]) -> bool {
    is_prefixed(name, TRUST_PREFIX)
        || TRUST_HEADERS
            .iter()
            .any(|own| same_name(name, own.as_bytes()))
        || configured.iter().any(|own| same_name(name, own.as_bytes()))
}

fn is_prefixed(name: &[u8], prefix: &[u8]) -> bool {
    let start = name.get(..prefix.len());
    start.is_some_and(|start| same_name(start, prefix))
}

fn same_name(name: &[u8], known: &[u8]) -> bool {
    name.len() == known.len()
        && name.iter().zip(known).all(|(a, b)| {
            let a = if *a == b'_' {
                b'-'
            } else {
                a.to_ascii_lowercase()
            };
            let b = if *b == b'_' {
                b'-'
            } else {
                b.to_ascii_lowercase()
            };
            a == b
        })
}

#[cfg(test)]
mod tests;
