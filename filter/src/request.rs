//! What the filter needs to know of a request, read from its headers in one pass. Header values are
//! bytes, as Envoy passes them on; what is used as text is checked to be text first. Decides nothing
//! but what is no proper request at all.

use crate::route;

/// Headers that only the filter or the placement service may set, whatever the configuration says.
/// Compared without regard to case, and with `_` as `-`, since some servers do not tell them apart.
const TRUST_PREFIX: &[u8] = b"x-berth-";
const TRUST_HEADERS: &[&str] = &["authorization", "x-envoy-original-dst-host"];

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
    let starts = name
        .get(..TRUST_PREFIX.len())
        .is_some_and(|start| same_name(start, TRUST_PREFIX));
    starts
        || TRUST_HEADERS
            .iter()
            .any(|own| same_name(name, own.as_bytes()))
        || configured.iter().any(|own| same_name(name, own.as_bytes()))
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
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const PLAIN: &[(&str, &str)] = &[
        (":method", "GET"),
        (":path", "/app/x?y"),
        (":authority", "127.0.0.1:8080"),
        (":scheme", "http"),
    ];

    fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<Header<'a>> {
        let kept = PLAIN
            .iter()
            .filter(|(n, _)| !more.iter().any(|(m, _)| n == m));
        kept.chain(more)
            .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
            .collect()
    }

    fn read<'a>(more: &[(&'a str, &'a str)]) -> Result<Request<'a>, &'static str> {
        let trust = ["x-qlik-session".to_owned()];
        Request::read(with(more).into_iter(), &trust)
    }

    #[test]
    fn reads_the_line_and_the_cookies() {
        let request = read(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
        assert_eq!(request.method, "GET");
        assert_eq!(request.path, "/app/x?y");
        assert_eq!(request.authority, "127.0.0.1:8080");
        assert_eq!(request.scheme, "http");
        assert_eq!(request.cookies, [b"a=1", b"b=2"]);
        assert!(!request.upgrade && !request.accepts_html && request.forged.is_empty());
    }

    #[test]
    fn an_upgrade_needs_both_headers_in_any_case() {
        let upgrade = |connection, upgrade| {
            let headers = [("connection", connection), ("upgrade", upgrade)];
            read(&headers).unwrap().upgrade
        };
        assert!(upgrade("Upgrade", "websocket"));
        assert!(upgrade("keep-alive, UPGRADE", "WebSocket"));
        assert!(!upgrade("keep-alive", "websocket"));
        assert!(!upgrade("upgrade", "h2c"));
        assert!(!upgrade("upgraded", "websocket"));
    }

    #[test]
    fn forged_headers_are_found_in_every_spelling_and_named_once() {
        let request = read(&[
            ("x-berth-cluster", "a"),
            ("x-berth-cluster", "b"),
            ("X-Berth-Destination", "c"),
            ("x_berth_cluster", "d"),
            ("x-envoy-original-dst-host", "e"),
            ("x-qlik-session", "f"),
            ("authorization", "g"),
            ("x-berth", "h"),
            ("x-berthold", "i"),
        ])
        .unwrap();
        let expected = [
            "x-berth-cluster",
            "X-Berth-Destination",
            "x_berth_cluster",
            "x-envoy-original-dst-host",
            "x-qlik-session",
            "authorization",
        ];
        assert_eq!(request.forged, expected);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let bad: &[&[(&str, &str)]] = &[
            &[(":method", "CONNECT")],
            &[(":method", "")],
            &[(":path", "")],
            &[(":path", "*")],
            &[(":path", "http://x/")],
            &[(":path", "/a b")],
            &[(":path", "/ä")],
            &[(":path", "/a#b")],
            &[(":path", "/a/../b")],
            &[(":authority", "")],
            &[(":authority", "a b")],
            &[
                (":method", "POST"),
                ("connection", "upgrade"),
                ("upgrade", "websocket"),
            ],
        ];
        for headers in bad {
            assert!(read(headers).is_err(), "{headers:?}");
        }
        assert!(Request::read(std::iter::empty(), &[]).is_err());
    }

    #[test]
    fn bytes_that_are_no_text_do_no_harm() {
        let headers: Vec<Header> = with(&[])
            .into_iter()
            .chain([
                (&b"x-note"[..], &b"\xff\xfe"[..]),
                (b"cookie", b"\xff=\xff"),
            ])
            .collect();
        let request = Request::read(headers.into_iter(), &[]).unwrap();
        assert_eq!(request.cookies, [b"\xff=\xff"]);
    }

    #[test]
    fn two_origins_are_none() {
        let request = read(&[("origin", "http://127.0.0.1:8080"), ("origin", "http://b")]).unwrap();
        assert_eq!(request.origin, Some(&b""[..]));
    }

    #[test]
    fn html_is_one_of_the_accepted_types() {
        let html = |accept| read(&[("accept", accept)]).unwrap().accepts_html;
        assert!(html("text/html"));
        assert!(html("application/json, TEXT/HTML;q=0.9"));
        assert!(!html("application/json"));
        assert!(!html("text/html5"));
    }

    #[test]
    fn the_forwarded_scheme_goes_first() {
        assert_eq!(
            read(&[("x-forwarded-proto", "https")]).unwrap().scheme,
            "https"
        );
    }
}
