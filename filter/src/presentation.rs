//! How a refusal looks to the one who asked (S14 to S17): a browser that opens a page is sent to the
//! login page, a script gets 440 and may retry after a login, a WebSocket gets 401 and nothing else.
//! Turns a [`Rejection`] into a [`Reply`]; decides nothing about whether to refuse.

use crate::config::Config;
use crate::cookie::is_cookie_octet;
use crate::rejection::{Cause, Rejection};
use crate::request::Request;
use crate::route;
use crate::step::Reply;
use berth_api::Problem;
use serde::Serialize;
use std::fmt::Write;

/// Who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A WebSocket: never a redirect, never a cookie.
    Upgrade,
    /// A browser that opens a page: may be sent to the login page and back to this path.
    Navigation(String),
    /// A script or a program.
    Program,
}

impl Asker {
    /// Who made this request.
    #[must_use]
    pub fn of(request: &Request<'_>, api_prefixes: &[String]) -> Self {
        let path = route::without_query(request.path);
        let api = api_prefixes.iter().any(|p| route::is_below(path, p));
        let navigates = match request.fetch_mode {
            Some(mode) => mode.eq_ignore_ascii_case(b"navigate"),
            None => request.accepts_html,
        };
        if request.upgrade {
            Self::Upgrade
        } else if request.method == "GET" && navigates && !api {
            Self::Navigation(request.path.to_owned())
        } else {
            Self::Program
        }
    }
}

/// The reply that says `rejection` to `asker`.
#[must_use]
pub fn present(config: &Config, asker: &Asker, rejection: Rejection) -> Reply {
    let cause = rejection.cause;
    let no_login = cause.wants_login();
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    let status = match asker {
        Asker::Navigation(path) if no_login => {
            headers.push(("location", login_location(&config.login_path, path)));
            return Reply {
                cause,
                route: None,
                detail: rejection.detail,
                status: 302,
                headers,
                body: Vec::new(),
            };
        }
        Asker::Upgrade if no_login => 401,
        Asker::Program if no_login && cause != Cause::NoSession => {
            let cookie = rejection.anonymous_cookie;
            if let Some(cookie) = cookie.filter(|c| is_safe_cookie(c, &config.cookie)) {
                headers.push(("set-cookie", cookie));
            }
            440
        }
        _ => cause.status(),
    };
    if cause == Cause::BearerInvalid {
        // RFC 6750, section 3.
        let challenge = "Bearer error=\"invalid_token\"".to_owned();
        headers.push(("www-authenticate", challenge));
    }
    if let Some(seconds) = rejection.retry_after {
        headers.push(("retry-after", seconds.to_string()));
    }
    problem(cause, status, rejection.detail, headers)
}

/// The reply of a filter that cannot decide: it has no sound configuration, or its host failed it.
#[must_use]
pub fn not_ready(detail: &str) -> Reply {
    let cause = Cause::NotConfigured;
    problem(cause, cause.status(), Some(detail.to_owned()), Vec::new())
}

fn problem(
    cause: Cause,
    status: u16,
    detail: Option<String>,
    mut headers: Vec<(&'static str, String)>,
) -> Reply {
    headers.push(("content-type", Problem::CONTENT_TYPE.to_owned()));
    let body = Body {
        status,
        title: cause.title(),
        reason: cause.reason(),
        detail: detail.as_deref(),
    };
    Reply {
        body: serde_json::to_vec(&body).unwrap_or_default(),
        cause,
        route: None,
        detail,
        status,
        headers,
    }
}

/// A problem body (RFC 9457).
#[derive(Serialize)]
struct Body<'a> {
    status: u16,
    title: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

fn login_location(login_path: &str, path: &str) -> String {
    let mut location = String::with_capacity(login_path.len().saturating_add(path.len()));
    location.push_str(login_path);
    location.push_str("?return_to=");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            location.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(location, "%{byte:02X}");
        }
    }
    location
}

/// Whether a `Set-Cookie` value can be handed on: one line, and never the login cookie, since a late
/// 440 would log out a user who has logged in again meanwhile.
fn is_safe_cookie(cookie: &str, login_cookie: &str) -> bool {
    let name = cookie.split('=').next().unwrap_or_default().trim();
    cookie.contains('=')
        && !name.is_empty()
        && !name.eq_ignore_ascii_case(login_cookie)
        && cookie
            .bytes()
            .all(|b| is_cookie_octet(b) || b"; ,".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn asker(headers: &[(&str, &str)]) -> Asker {
        let headers = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let line: [(&[u8], &[u8]); 1] = [(b":authority", b"h")];
        let request = Request::read(line.into_iter().chain(headers), &[]).unwrap();
        Asker::of(&request, &["/api".to_owned()])
    }

    #[test]
    fn a_page_is_told_from_a_script() {
        let get = |path, more: &[(&'static str, &'static str)]| {
            let mut headers = vec![(":method", "GET"), (":path", path)];
            headers.extend(more);
            asker(&headers)
        };
        let page = |path: &str| Asker::Navigation(path.to_owned());
        assert_eq!(get("/a?b", &[("sec-fetch-mode", "navigate")]), page("/a?b"));
        assert_eq!(get("/a", &[("accept", "text/html,*/*")]), page("/a"));
        assert_eq!(get("/apix", &[("accept", "text/html")]), page("/apix"));
        assert_eq!(get("/api", &[("accept", "text/html")]), Asker::Program);
        assert_eq!(
            get("/api/a?b", &[("sec-fetch-mode", "navigate")]),
            Asker::Program
        );
        assert_eq!(get("/a", &[("accept", "application/json")]), Asker::Program);
        assert_eq!(get("/a", &[]), Asker::Program);
        let script = [("sec-fetch-mode", "cors"), ("accept", "text/html")];
        assert_eq!(get("/a", &script), Asker::Program);
        let post = [
            (":method", "POST"),
            (":path", "/a"),
            ("accept", "text/html"),
        ];
        assert_eq!(asker(&post), Asker::Program);
    }

    #[test]
    fn return_to_survives_as_one_parameter() {
        assert_eq!(
            login_location("/login", "/app/a%20b?x=1&y=2"),
            "/login?return_to=%2Fapp%2Fa%2520b%3Fx%3D1%26y%3D2"
        );
    }

    #[test]
    fn only_a_harmless_cookie_is_handed_on() {
        let safe = |cookie| is_safe_cookie(cookie, "berth");
        assert!(safe("berth-anon=abc; Path=/; HttpOnly; SameSite=Lax"));
        assert!(!safe("berth=abc; Path=/"));
        assert!(!safe(" Berth =abc"));
        assert!(!safe("berth-anon=a\r\nx: y"));
        assert!(!safe("berth-anon"));
        assert!(!safe("=x"));
    }
}
