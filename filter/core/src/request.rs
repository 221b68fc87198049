//! The head of a request: the fields that decisions use, read from the headers in one pass. Header values are
//! bytes, as Envoy passes them; a value that is used as text is checked first. Decides only whether the head is
//! malformed. Knows no route and no session.

pub mod bearer;
pub mod cookie;
pub mod origin;
pub mod path;

/// Headers that only the filter or the placement service may set; the configuration adds more.
/// Names compare without case and with `_` equal to `-`, since some servers treat both alike.
const INTERNAL_PREFIX: &[u8] = b"x-berth-";
const INTERNAL_HEADERS: &[&str] = &[
    "authorization",
    "x-envoy-original-dst-host",
    "x-qlik-session",
];

/// Headers that [`Request::read`] uses and that are forwarded, besides those of the WebSocket handshake.
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
    /// Host and port as the client sent them: visible ASCII.
    pub authority: &'a str,
    /// `http` or `https`: the client's scheme, as far as Envoy knows it.
    pub scheme: &'a str,
    /// Whether it is a WebSocket upgrade.
    pub upgrade: bool,
    /// Handshake headers that HTTP/1.1 requires (RFC 6455, section 4.1) and HTTP/2 lacks (RFC 8441, section 5).
    pub handshake: Handshake,
    /// The `Origin` header, if there is one. Several headers become an empty value, which is no origin.
    pub origin: Option<&'a [u8]>,
    /// Every `Cookie` header.
    pub cookies: Vec<&'a [u8]>,
    /// Every `Authorization` header.
    pub authorizations: Vec<&'a [u8]>,
    /// Whether an `Accept` header names `text/html`.
    pub accepts_html: bool,
    /// `Sec-Fetch-Mode`: `navigate` for page navigations, other values for scripts; not every client sends it.
    pub fetch_mode: Option<&'a [u8]>,
    /// Names of internal headers that the client sent, each once.
    pub spoofed: Vec<&'a str>,
}

/// Which headers of a WebSocket handshake are present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// `Sec-WebSocket-Key`.
    pub key: bool,
    /// `Sec-WebSocket-Version`.
    pub version: bool,
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
            cookies: Vec::new(),
            authorizations: Vec::new(),
            accepts_html: false,
            fetch_mode: None,
            spoofed: Vec::new(),
        };
        for (name, value) in headers {
            match name {
                b":method" => fields.method = Some(value),
                b":path" => fields.path = Some(value),
                b":authority" => fields.authority = Some(value),
                b":scheme" => fields.scheme = Some(value),
                b"x-forwarded-proto" => fields.forwarded_proto = Some(value),
                b"cookie" => request.cookies.push(value),
                // With two headers the origin is ambiguous: an empty value is no origin.
                b"origin" if request.origin.is_some() => request.origin = Some(b""),
                b"origin" => request.origin = Some(value),
                b"connection" => fields.connection_upgrade |= has_upgrade_token(value),
                b"upgrade" => {
                    fields.websocket |= value.trim_ascii().eq_ignore_ascii_case(b"websocket");
                }
                b"sec-websocket-key" => request.handshake.key = true,
                b"sec-websocket-version" => request.handshake.version = true,
                b"accept" => request.accepts_html |= accepts_html(value),
                b"sec-fetch-mode" => request.fetch_mode = Some(value),
                _ if is_internal(name, strip) => {
                    if same_name(name, b"authorization") {
                        request.authorizations.push(value);
                    }
                    let name = str::from_utf8(name).map_err(|_| "A header name is not text.")?;
                    if !request.spoofed.contains(&name) {
                        request.spoofed.push(name);
                    }
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
        request.path = visible(fields.path)
            .filter(|path| path.starts_with('/') && !path.contains('#'))
            .ok_or("The path is missing or malformed.")?;
        if path::has_dot_segment(request.path) {
            return Err("The path contains a dot segment.");
        }
        request.authority = visible(fields.authority).ok_or("The host is missing or malformed.")?;
        request.scheme = visible(fields.forwarded_proto)
            .or_else(|| visible(fields.scheme))
            .unwrap_or("http");
        Ok(request)
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
}

/// Non-empty text of visible ASCII.
fn visible(value: Option<&[u8]>) -> Option<&str> {
    let value = value.filter(|v| !v.is_empty() && v.iter().all(u8::is_ascii_graphic))?;
    str::from_utf8(value).ok()
}

fn has_upgrade_token(connection: &[u8]) -> bool {
    connection
        .split(|byte| *byte == b',')
        .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
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
