//! The head of a request: the fields that decisions use, read from the headers in one pass. Header values are
//! bytes, as Envoy passes them; a value that is used as text is checked first. Decides only whether the head is
//! malformed. Knows no route and no session.

pub mod bearer;
pub mod cookie;
mod handshake;
pub mod origin;
pub mod path;

pub use handshake::{Handshake, WebSocketVersion};

use berth_api::is_request_id;

/// Headers that only the filter or the placement service may set; the configuration adds more.
/// Names compare without case and with `_` equal to `-`, since some servers treat both alike.
const INTERNAL_PREFIX: &[u8] = b"x-berth-";
const INTERNAL_HEADERS: &[&str] = &[
    "authorization",
    "x-envoy-original-dst-host",
    "x-qlik-session",
];
/// Further headers that clients must not send to engines: an engine or a proxy in front of it trusts them.
const ENGINE_PREFIX: &[u8] = b"x-qlik-";
const ENGINE_HEADERS: &[&str] = &["proxy-authorization"];

/// Headers that [`Request::read`] uses and that are forwarded, besides those of the WebSocket handshake.
const READ_HEADERS: &[&str] = &[
    "accept",
    "access-control-request-headers",
    "access-control-request-method",
    "connection",
    "content-length",
    "cookie",
    "host",
    "origin",
    "sec-fetch-mode",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-proto",
    "x-request-id",
];

/// Whether [`Request::read`] uses this header, so that it cannot be stripped from clients.
#[must_use]
pub fn is_read(name: &str) -> bool {
    let name = name.as_bytes();
    is_prefixed(name, b"sec-websocket-")
        || READ_HEADERS
            .iter()
            .any(|reserved| same_name(name, reserved.as_bytes()))
}

/// Name and value of one header.
pub type Header<'a> = (&'a [u8], &'a [u8]);

/// The head of a request, borrowed from the host's buffer.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET`, `POST` ...
    pub method: &'a str,
    /// Path and query: visible ASCII that starts with `/`.
    pub path: &'a str,
    /// One host, with its port if the client sent one.
    pub authority: &'a str,
    /// `http` or `https`: the client's scheme, as far as Envoy and the proxies in front of it know it.
    pub scheme: &'a str,
    /// Whether it is a WebSocket upgrade.
    pub upgrade: bool,
    /// The headers of a WebSocket handshake.
    pub handshake: Handshake,
    /// The `Origin` header, if there is one. Several headers become an empty value, which is no origin.
    pub origin: Option<&'a [u8]>,
    /// `Access-Control-Request-Method` of a preflight.
    pub preflight_method: Option<&'a [u8]>,
    /// `Access-Control-Request-Headers` of a preflight.
    pub preflight_headers: Option<&'a [u8]>,
    /// Every `Cookie` header.
    pub cookies: Vec<&'a [u8]>,
    /// Every `Authorization` header.
    pub authorizations: Vec<&'a [u8]>,
    /// Whether an `Accept` header names `text/html`.
    pub accepts_html: bool,
    /// `Sec-Fetch-Mode`: `navigate` for page navigations, other values for scripts; not every client sends it.
    pub fetch_mode: Option<&'a [u8]>,
    /// `x-request-id`, which Envoy sets, if it may be logged.
    pub request_id: Option<&'a str>,
    /// Names of internal headers that the client sent, each once.
    pub spoofed: Vec<&'a str>,
    /// Names of further headers that the client must not send to engines, each once.
    pub spoofed_for_engines: Vec<&'a str>,
}

impl<'a> Request<'a> {
    /// Reads a request. `strip` names further headers that clients must not set.
    ///
    /// # Errors
    /// A message for the client when the head is malformed.
    pub fn read(
        headers: impl Iterator<Item = Header<'a>>,
        strip: &[String],
    ) -> Result<Self, &'static str> {
        let mut fields = UncheckedFields::default();
        let mut request = Self {
            method: "",
            path: "",
            authority: "",
            scheme: "",
            upgrade: false,
            handshake: Handshake::default(),
            origin: None,
            preflight_method: None,
            preflight_headers: None,
            cookies: Vec::new(),
            authorizations: Vec::new(),
            accepts_html: false,
            fetch_mode: None,
            request_id: None,
            spoofed: Vec::new(),
            spoofed_for_engines: Vec::new(),
        };
        for (name, value) in headers {
            match name {
                b":method" => fields.method = Some(value),
                b":path" => fields.path = Some(value),
                b":authority" => fields.authority = Some(value),
                b":scheme" => fields.scheme = Some(value),
                b"x-forwarded-proto" => {
                    fields.forwarded_proto.get_or_insert(value);
                }
                b"cookie" => request.cookies.push(value),
                // With two headers the origin is ambiguous: an empty value is no origin.
                b"origin" if request.origin.is_some() => request.origin = Some(b""),
                b"origin" => request.origin = Some(value),
                b"access-control-request-method" => request.preflight_method = Some(value),
                b"access-control-request-headers" => request.preflight_headers = Some(value),
                b"connection" => {
                    fields.connection_upgrade |= request.handshake.add_connection(value);
                }
                b"content-length" => fields.has_body |= value.trim_ascii() != b"0",
                // Envoy removes it from an upgrade over HTTP/1.1 itself, and forwards what follows as frames.
                b"transfer-encoding" => fields.has_body = true,
                b"upgrade" => {
                    fields.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
                }
                b"sec-websocket-key" => request.handshake.key = true,
                b"sec-websocket-version" => request.handshake.add_version(value),
                b"accept" => request.accepts_html |= accepts_html(value),
                b"sec-fetch-mode" => request.fetch_mode = Some(value),
                b"x-request-id" => {
                    request.request_id = visible(Some(value)).filter(|id| is_request_id(id))
                }
                _ if is_internal(name, strip) => {
                    if same_name(name, b"authorization") {
                        request.authorizations.push(value);
                    }
                    insert_name(&mut request.spoofed, name)?;
                }
                _ if is_for_engines(name) => {
                    insert_name(&mut request.spoofed_for_engines, name)?;
                }
                _ => {}
            }
        }
        request.upgrade = fields.connection_upgrade && fields.websocket;
        request.method = visible(fields.method).ok_or("The method is missing or malformed.")?;
        if request.method == "CONNECT" {
            return Err("CONNECT is not supported.");
        }
        if request.upgrade && request.method != "GET" {
            return Err("A WebSocket upgrade must be a GET.");
        }
        if request.upgrade && fields.has_body {
            return Err("A WebSocket upgrade must not have a body.");
        }
        request.path = visible(fields.path)
            .filter(|path| path.starts_with('/') && !path.contains('#'))
            .ok_or("The path is missing or malformed.")?;
        if path::has_dot_segment(request.path) {
            return Err("The path contains a dot segment.");
        }
        // Envoy joins several Host headers into one value, which is no authority.
        request.authority = visible(fields.authority)
            .filter(|authority| origin::is_authority(authority))
            .ok_or("The host is missing or malformed.")?;
        request.scheme = scheme(fields.forwarded_proto)
            .or_else(|| scheme(fields.scheme))
            .unwrap_or("http");
        Ok(request)
    }
}

impl Request<'_> {
    /// Whether its method is meant to change nothing ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-9.2.1),
    /// section 9.2.1). `TRACE` is not among these: it is not for browsers.
    #[must_use]
    pub fn has_safe_method(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS")
    }
}

/// Names of internal headers among the trailers of a request. `strip`: as in [`Request::read`].
///
/// # Errors
/// When such a name is not text.
pub fn spoofed_trailers<'a>(
    trailers: impl Iterator<Item = Header<'a>>,
    strip: &[String],
) -> Result<Vec<&'a str>, std::str::Utf8Error> {
    let names = trailers.map(|(name, _)| name);
    let spoofed = names.filter(|name| is_internal(name, strip));
    spoofed.map(str::from_utf8).collect()
}

/// Fields of the head before they are checked.
#[derive(Default)]
struct UncheckedFields<'a> {
    method: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
    authority: Option<&'a [u8]>,
    scheme: Option<&'a [u8]>,
    forwarded_proto: Option<&'a [u8]>,
    connection_upgrade: bool,
    websocket: bool,
    /// Whether the head announces a body.
    has_body: bool,
}

/// The scheme that a proxy or Envoy reports. In a list, the first one is that of the proxy nearest to the client. Some
/// proxies report `ws` and `wss` for WebSockets, whose pages have the origin of `http` and `https`.
fn scheme(value: Option<&[u8]>) -> Option<&'static str> {
    let first = value?.split(|byte| *byte == b',').next()?.trim_ascii();
    let is = |names: [&[u8]; 2]| names.iter().any(|name| first.eq_ignore_ascii_case(name));
    if is([b"https", b"wss"]) {
        Some("https")
    } else if is([b"http", b"ws"]) {
        Some("http")
    } else {
        None
    }
}

/// Adds a header's name unless it is there.
fn insert_name<'a>(names: &mut Vec<&'a str>, name: &'a [u8]) -> Result<(), &'static str> {
    let name = str::from_utf8(name).map_err(|_| "A header name is not text.")?;
    if !names.contains(&name) {
        names.push(name);
    }
    Ok(())
}

/// Non-empty text of visible ASCII.
fn visible(value: Option<&[u8]>) -> Option<&str> {
    let value = value.filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_graphic))?;
    str::from_utf8(value).ok()
}

fn accepts_html(accept: &[u8]) -> bool {
    accept.split(|byte| *byte == b',').any(|range| {
        let kind = range.split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/html")
    })
}

fn is_internal(name: &[u8], configured: &[String]) -> bool {
    is_prefixed(name, INTERNAL_PREFIX)
        || INTERNAL_HEADERS
            .iter()
            .any(|reserved| same_name(name, reserved.as_bytes()))
        || configured
            .iter()
            .any(|reserved| same_name(name, reserved.as_bytes()))
}

fn is_for_engines(name: &[u8]) -> bool {
    is_prefixed(name, ENGINE_PREFIX)
        || ENGINE_HEADERS
            .iter()
            .any(|reserved| same_name(name, reserved.as_bytes()))
}

fn is_prefixed(name: &[u8], prefix: &[u8]) -> bool {
    let head = name.get(..prefix.len());
    head.is_some_and(|head| same_name(head, prefix))
}

fn same_name(name: &[u8], expected: &[u8]) -> bool {
    let folded = |byte: u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    name.len() == expected.len()
        && name
            .iter()
            .zip(expected)
            .all(|(a, b)| folded(*a) == folded(*b))
}

#[cfg(test)]
mod tests;
