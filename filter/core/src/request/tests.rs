//! Which fields a request head yields, and which heads are malformed.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const PLAIN: &[(&str, &str)] = &[
    (":method", "GET"),
    (":path", "/app/x?y"),
    (":authority", "127.0.0.1:8080"),
    (":scheme", "http"),
];

fn with<'a>(extra_headers: &[(&'a str, &'a str)]) -> Vec<Header<'a>> {
    let unchanged = PLAIN
        .iter()
        .filter(|(n, _)| !extra_headers.iter().any(|(m, _)| n == m));
    unchanged
        .chain(extra_headers)
        .map(|(n, v)| (n.as_bytes(), v.as_bytes()))
        .collect()
}

fn read<'a>(extra_headers: &[(&'a str, &'a str)]) -> Result<Request<'a>, &'static str> {
    let strip = ["x-user".to_owned()];
    Request::read(with(extra_headers).into_iter(), &strip)
}

#[test]
fn reads_the_request_line_and_the_cookies() {
    let request = read(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).unwrap();
    assert_eq!(request.method, "GET");
    assert_eq!(request.path, "/app/x?y");
    assert_eq!(request.authority, "127.0.0.1:8080");
    assert_eq!(request.scheme, "http");
    assert_eq!(request.cookies, [b"a=1", b"b=2"]);
    assert!(!request.upgrade && !request.accepts_html && request.spoofed.is_empty());
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
fn spoofed_headers_are_found_in_every_spelling_and_named_once() {
    let request = read(&[
        ("x-berth-cluster", "a"),
        ("x-berth-cluster", "b"),
        ("X-Berth-Destination", "c"),
        ("x_berth_cluster", "d"),
        ("x-envoy-original-dst-host", "e"),
        ("x-qlik-session", "f"),
        ("X_User", "f"),
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
        "X_User",
        "authorization",
    ];
    assert_eq!(request.spoofed, expected);
}

#[test]
fn malformed_heads_are_refused() {
    let malformed: &[&[(&str, &str)]] = &[
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
        &[(":authority", "a,b")],
        &[(":authority", "user@a")],
        &[
            (":method", "POST"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
        ],
    ];
    for headers in malformed {
        assert!(read(headers).is_err(), "{headers:?}");
    }
    assert!(Request::read(std::iter::empty(), &[]).is_err());
}

#[test]
fn bytes_that_are_not_text_are_harmless() {
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
fn two_origin_headers_are_no_origin() {
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
fn the_forwarded_scheme_has_precedence_and_names_the_page() {
    let scheme = |forwarded| read(&[("x-forwarded-proto", forwarded)]).unwrap().scheme;
    for https in ["https", "wss", "WSS", "https, http", "wss,http"] {
        assert_eq!(scheme(https), "https", "{https}");
    }
    for other in ["http", "ws", "http, https", "", "ftp", ", https"] {
        assert_eq!(scheme(other), "http", "{other}");
    }
    let twice = [
        ("x-forwarded-proto", "https"),
        ("x-forwarded-proto", "http"),
    ];
    assert_eq!(read(&twice).unwrap().scheme, "https");
}

#[test]
fn headers_for_engines_are_found_in_every_spelling() {
    let request = read(&[
        ("X-Qlik-User", "a"),
        ("x_qlik_user", "b"),
        ("Proxy_Authorization", "c"),
        ("x-qlik-session", "d"),
        ("x-qlik", "e"),
        ("X-Qlik-User", "f"),
    ])
    .unwrap();
    let expected = ["X-Qlik-User", "x_qlik_user", "Proxy_Authorization"];
    assert_eq!(request.spoofed_for_engines, expected);
    assert_eq!(request.spoofed, ["x-qlik-session"]);
}

#[test]
fn an_upgrade_has_no_body() {
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let with_header = |header: (&'static str, &'static str)| {
        let headers = [upgrade[0], upgrade[1], header];
        read(&headers).map(|request| request.upgrade)
    };
    assert_eq!(with_header(("content-length", "0")), Ok(true));
    for body in [
        ("content-length", "1"),
        ("content-length", ""),
        ("transfer-encoding", "chunked"),
    ] {
        assert!(with_header(body).is_err(), "{body:?}");
    }
    assert!(read(&[("content-length", "1")]).is_ok());
}

#[test]
fn the_handshake_says_what_it_names() {
    let handshake = |headers: &[(&'static str, &'static str)]| read(headers).unwrap().handshake;
    assert!(!handshake(&[("connection", " UPGRADE ")]).names_headers);
    for value in ["keep-alive, upgrade", "upgrade, authorization", "close", ""] {
        assert!(handshake(&[("connection", value)]).names_headers, "{value}");
    }
    let version = |values: &[&'static str]| {
        let headers = values.iter().map(|value| ("sec-websocket-version", *value));
        handshake(&headers.collect::<Vec<_>>()).version
    };
    assert_eq!(version(&[]), WebSocketVersion::Unspecified);
    assert_eq!(version(&["13"]), WebSocketVersion::Supported);
    for other in [&["8"][..], &["13, 8"], &["8", "13"], &["13", "8"], &[""]] {
        assert_eq!(version(other), WebSocketVersion::Unsupported, "{other:?}");
    }
}

#[test]
fn spoofed_trailers_are_found_like_headers() {
    let trailers: [Header<'_>; 5] = [
        (b"x-checksum", b"1"),
        (b"Authorization", b"Bearer x"),
        (b"x_berth_destination", b"h"),
        (b"x-user", b"admin"),
        (b"x-qlik-session", b"s"),
    ];
    let spoofed = spoofed_trailers(trailers.into_iter(), &["x-user".to_owned()]);
    assert_eq!(
        spoofed,
        Ok(vec![
            "Authorization",
            "x_berth_destination",
            "x-user",
            "x-qlik-session"
        ])
    );
}
