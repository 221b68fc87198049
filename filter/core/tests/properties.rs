//! Properties of cookies, origins, routes and responses for any input. Native only.
#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use berth_filter_core::decision::effects::HeaderMutation;
use berth_filter_core::decision::response;
use berth_filter_core::request::Request;
use berth_filter_core::request::cookie::{self, CookieError, CookieRemoval, MAX_VALUE_BYTES};
use berth_filter_core::request::origin::{self, Origin};
use berth_filter_core::request::path::has_dot_segment;
use berth_filter_core::routing::{self, Action, Activity, LoginTimeout, Pattern, Route};
use proptest::prelude::*;
use serde_json::json;

const NAME: &str = "berth";

/// Cookies that are not the login cookie, in any spelling.
fn other_cookie() -> impl Strategy<Value = Vec<u8>> {
    let plain = "[a-z ]{0,6}(=[ -:<-~]{0,12})?".prop_map(String::into_bytes);
    let arbitrary = prop::collection::vec(
        any::<u8>().prop_filter("no separator", |b| *b != b';'),
        0..12,
    );
    prop_oneof![plain, arbitrary].prop_filter("another name", |pair| {
        let name = pair.split(|b| *b == b'=').next().unwrap();
        name.trim_ascii() != NAME.as_bytes()
    })
}

fn session() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_.~-]{1,128}"
}

fn join(pairs: &[Vec<u8>]) -> Vec<u8> {
    pairs.join(&b"; "[..])
}

fn route(pattern: Pattern, action: Action) -> Route {
    Route {
        host: None,
        pattern,
        action,
        plain_http: false,
        activity: Activity::All,
        bearer: false,
        anonymous: false,
        on_login_timeout: LoginTimeout::Login,
        max_age: None,
        roles: Default::default(),
    }
}

/// The cookies of a header as a server reads them: trimmed.
fn cookies(header: &[u8]) -> Vec<Vec<u8>> {
    let pairs = header
        .split(|b| *b == b';')
        .map(|pair| pair.trim_ascii().to_vec());
    pairs.filter(|pair| !pair.is_empty()).collect()
}

proptest! {
    #[test]
    fn the_login_cookie_is_found_among_any_others(
        before in prop::collection::vec(other_cookie(), 0..4),
        after in prop::collection::vec(other_cookie(), 0..4),
        value in session(),
    ) {
        let own = format!("{NAME}={value}").into_bytes();
        let header = join(&[before.clone(), vec![own], after.clone()].concat());
        prop_assert_eq!(cookie::find(&[&header], NAME), Ok(Some(value.as_str())));
        let left = match cookie::remove(&header, NAME) {
            CookieRemoval::Remaining(left) => cookies(&left),
            CookieRemoval::Empty => Vec::new(),
            CookieRemoval::Unchanged => panic!("it is there"),
        };
        prop_assert_eq!(left, cookies(&join(&[before, after].concat())));
    }

    #[test]
    fn a_found_cookie_is_always_valid(header in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some(value)) = cookie::find(&[&header], NAME) {
            prop_assert!(!value.is_empty() && value.len() <= MAX_VALUE_BYTES);
            prop_assert!(value.bytes().all(cookie::is_cookie_octet));
        }
    }

    #[test]
    fn removal_leaves_no_login_cookie(
        pairs in prop::collection::vec(prop_oneof![other_cookie(), session().prop_map(|v| format!(" berth ={v}").into_bytes())], 0..6),
    ) {
        let header = pairs.join(&b";"[..]);
        let left = match cookie::remove(&header, NAME) {
            CookieRemoval::Unchanged => header,
            CookieRemoval::Remaining(left) => left,
            CookieRemoval::Empty => Vec::new(),
        };
        prop_assert_eq!(cookie::find(&[&left], NAME), Ok(None));
    }

    #[test]
    fn two_login_cookies_are_refused_in_any_position(
        others in prop::collection::vec(other_cookie(), 0..4), a in session(), b in session(), split in any::<bool>(),
    ) {
        let own = |v: &str| format!("{NAME}={v}").into_bytes();
        let all = [vec![own(&a)], others, vec![own(&b)]].concat();
        let found = if split {
            cookie::find(&[&join(&all[..1]), &join(&all[1..])], NAME).map(|_| ())
        } else {
            cookie::find(&[&join(&all)], NAME).map(|_| ())
        };
        prop_assert_eq!(found, Err(CookieError::Duplicate));
    }

    #[test]
    fn an_origin_allows_itself_and_no_other_host(
        https in any::<bool>(), host in "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", port in 1_u16.., other in "[!-~]{0,30}",
    ) {
        let scheme = if https { "https" } else { "http" };
        let authority = format!("{host}:{port}");
        let own = Origin::from_parts(scheme, &authority);
        prop_assert!(own.is_some());
        let own_text = format!("{scheme}://{authority}");
        prop_assert!(origin::is_allowed(Some(own_text.as_bytes()), own.as_ref(), &[]));
        let longer = format!("{own_text}{other}");
        if Origin::parse(&longer) != own {
            prop_assert!(!origin::is_allowed(Some(longer.as_bytes()), own.as_ref(), &[]));
        }
        prop_assert!(!origin::is_allowed(Some(other.as_bytes()), own.as_ref(), &[]) || Origin::parse(&other) == own);
    }

    #[test]
    fn a_path_below_a_prefix_continues_with_a_slash(prefix in "/[a-z]{1,6}", path in "/[a-z/]{0,12}") {
        let routes = [route(Pattern::Prefix(prefix.clone()), Action::Place)];
        let below = path == prefix || path.starts_with(&format!("{prefix}/"));
        prop_assert_eq!(routing::find(&routes, "h", &path).is_some(), below);
    }

    #[test]
    fn a_query_never_decides_on_the_route(path in "/[a-z/]{0,12}", query in "[ -~]{0,20}") {
        let routes = [
            route(Pattern::Exact("/login".into()), Action::Bypass),
            route(Pattern::Prefix("/app/".into()), Action::Place),
        ];
        prop_assert_eq!(routing::find(&routes, "h", &format!("{path}?{query}")), routing::find(&routes, "h", &path));
    }

    #[test]
    fn every_spoofed_header_is_named(name in "[xX][-_][bB][eE][rR][tT][hH][-_][a-zA-Z0-9_-]{0,10}", value in ".*") {
        let line: [(&[u8], &[u8]); 4] = [(b":method", b"GET"), (b":path", b"/"), (b":authority", b"h"), (name.as_bytes(), value.as_bytes())];
        let request = Request::read(line.into_iter(), &[]).unwrap();
        prop_assert_eq!(request.spoofed, [name.as_str()]);
    }

    #[test]
    fn any_head_is_read_or_refused(headers in prop::collection::vec((head_name(), prop::collection::vec(any::<u8>(), 0..40)), 0..12)) {
        let pairs = headers.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        if let Ok(request) = Request::read(pairs, &["x-user".to_owned()]) {
            prop_assert!(request.path.starts_with('/') && !has_dot_segment(request.path));
            prop_assert!(request.method != "CONNECT");
        }
    }

    #[test]
    fn headers_of_any_response_are_valid(
        cluster in ".{0,10}", destination in prop::option::of("[0-9.:\\[\\]]{0,16}|.{0,10}"), path in "/?[ -~]{0,10}|.{0,6}",
        name in "[a-z-]{0,12}|.{0,8}", value in ".{0,12}", token in "[!-~]{0,10}|.{0,6}",
    ) {
        let answer = json!({
            "token": token, "token_expires_at": 1, "session_expires_at": 1, "session_ref": "r", "cluster": cluster,
            "destination": destination, "path": path, "set_headers": {name: value}, "stream": "s",
        });
        if let Ok(answer) = response::validate_placement(answer.to_string().as_bytes()) {
            for mutation in answer.mutations {
                let HeaderMutation::Set(name, value) = mutation else { panic!("responses only set headers") };
                prop_assert!(!value.iter().any(u8::is_ascii_control));
                let name_sound = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                prop_assert!(name == ":path" || name_sound);
                prop_assert!(!["host", "cookie", "authorization", "connection", "upgrade"].contains(&&*name));
            }
        }
    }
}

const KNOWN: &[&str] = &[
    ":method",
    ":path",
    ":authority",
    ":scheme",
    "cookie",
    "origin",
    "connection",
    "upgrade",
    "accept",
    "x-berth-a",
    "x-user",
];

fn head_name() -> impl Strategy<Value = Vec<u8>> {
    let known_name = prop::sample::select(KNOWN).prop_map(|name| name.as_bytes().to_vec());
    prop_oneof![known_name, prop::collection::vec(any::<u8>(), 0..8)]
}
