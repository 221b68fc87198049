//! Headers of a browser at the login (`name: value` lines): a found cookie is bounded, valid headers clear the cookies
//! of pending logins, and a page of another origin is refused.
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use berth_placement::config::{Config, load};
use berth_placement::http::LoginCookie;
use berth_placement::http::browsers::cross_site::check_origin;
use std::sync::LazyLock;

/// The defaults: browsers reach the site over https.
static CONFIG: LazyLock<Config> =
    LazyLock::new(|| load::from_text("").expect("the defaults").config);
static COOKIE: LazyLock<LoginCookie> =
    LazyLock::new(|| LoginCookie::new(&CONFIG.session.cookie));

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    if let Ok(Some(value)) = COOKIE.read(&headers) {
        assert!((1..=128).contains(&value.len()));
        assert!(!value.contains(';'));
    }
    let _ = COOKIE.read_login_state(&headers, "state");
    let cleared = COOKIE.clear_login_states(&headers);
    assert!(
        cleared
            .iter()
            .all(|header| header.as_bytes().ends_with(b"Max-Age=0"))
    );

    let uri = Uri::from_static("/login");
    if headers.contains_key("sec-fetch-site") {
        return;
    }
    headers.remove("host");
    headers.insert("host", HeaderValue::from_static("berth.example"));
    if let Some(origin) = headers.get("origin").map(HeaderValue::as_bytes)
        && check_origin(&uri, &headers, &CONFIG).is_ok()
    {
        assert!(origin.eq_ignore_ascii_case(b"https://berth.example"));
    }
}
