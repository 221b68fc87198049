//! How a rejection is rendered for each kind of client. A page navigation without a session is redirected to the login
//! page, a script gets 440 and may retry after a login, and a WebSocket gets 401. All other replies are pages for
//! navigations, else problem details. Does not decide whether to reject.

use crate::config::Config;
use crate::decision::effects::LocalReply;
use crate::decision::page;
use crate::decision::rejection::{RejectReason, Rejection};
use crate::request::Request;
use crate::request::cookie::is_cookie_octet;
use crate::request::path::{is_below, without_query};
use crate::routing::{Action, Route};
use berth_api::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

/// Bytes to encode in a query parameter: all but the unreserved ones (RFC 3986, section 2.3).
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The kind of client that made a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// A WebSocket: gets no redirect and no cookie.
    WebSocket,
    /// A browser that opens a page: may be redirected to the login page, and back to this path if there is a page.
    Navigation(Option<String>),
    /// A script or a program.
    Api,
}

impl ClientKind {
    /// The client of this request. `route`: that of its path. A route for WebSockets alone has no page
    /// to return to.
    #[must_use]
    pub fn classify(request: &Request<'_>, api_prefixes: &[String], route: Option<&Route>) -> Self {
        let path = without_query(request.path);
        let is_api = api_prefixes.iter().any(|prefix| is_below(path, prefix));
        let is_navigation = match request.fetch_mode {
            Some(mode) => mode.eq_ignore_ascii_case(b"navigate"),
            None => request.accepts_html,
        };
        if request.upgrade {
            Self::WebSocket
        } else if request.method == "GET" && is_navigation && !is_api {
            let has_page =
                route.is_none_or(|route| route.action != Action::Place || route.plain_http);
            Self::Navigation(has_page.then(|| request.path.to_owned()))
        } else {
            Self::Api
        }
    }
}

/// Renders `rejection` for `client`.
#[must_use]
pub fn render(config: &Config, client: &ClientKind, rejection: Rejection) -> LocalReply {
    let reason = rejection.reason;
    let needs_login = reason.requires_login();
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    let status = match client {
        ClientKind::Navigation(path) if needs_login || reason.is_unreadable_cookie() => {
            let location = login_location(&config.login_path, path.as_deref());
            headers.push(("location", location));
            return LocalReply {
                reason,
                route: None,
                detail: rejection.detail,
                status: 302,
                headers,
                body: Vec::new(),
            };
        }
        ClientKind::WebSocket if needs_login => 401,
        ClientKind::Api if needs_login && reason != RejectReason::NoSession => {
            let cookie = rejection.anonymous_cookie;
            if let Some(cookie) = cookie.filter(|c| is_safe_cookie(c, &config.cookie)) {
                headers.push(("set-cookie", cookie));
            }
            440
        }
        _ => reason.status(),
    };
    if reason == RejectReason::BearerInvalid {
        // RFC 6750, section 3.
        let challenge = "Bearer error=\"invalid_token\"".to_owned();
        headers.push(("www-authenticate", challenge));
    }
    if reason == RejectReason::WebSocketVersion {
        // RFC 6455, section 4.4.
        headers.push(("sec-websocket-version", "13".to_owned()));
    }
    if reason == RejectReason::GatewayDraining {
        // The client connects again, through the load balancer, to another gateway.
        headers.push(("connection", "close".to_owned()));
    }
    if let Some(seconds) = rejection.retry_after {
        headers.push(("retry-after", seconds.to_string()));
    }
    if matches!(client, ClientKind::Navigation(_)) {
        let text = page::render(reason.title(), reason.as_str(), rejection.detail.as_deref());
        let policy = page::CONTENT_SECURITY_POLICY.to_owned();
        headers.push(("content-security-policy", policy));
        let body = Body {
            content_type: page::CONTENT_TYPE,
            bytes: text.into_bytes(),
        };
        return reply(reason, status, rejection.detail, headers, body);
    }
    problem(reason, status, rejection.detail, headers)
}

/// The reply to a request whose client is not known any more: a problem with its time for a retry.
#[must_use]
pub(super) fn problem_for(rejection: Rejection) -> LocalReply {
    let reason = rejection.reason;
    let mut headers = vec![("cache-control", "no-store".to_owned())];
    headers.extend(
        rejection
            .retry_after
            .map(|s| ("retry-after", s.to_string())),
    );
    problem(reason, reason.status(), rejection.detail, headers)
}

/// The reply of a filter that cannot decide: its configuration is invalid, or a host call failed.
#[must_use]
pub fn not_ready(detail: &str) -> LocalReply {
    let reason = RejectReason::NotConfigured;
    problem(reason, reason.status(), Some(detail.to_owned()), Vec::new())
}

fn problem(
    reason: RejectReason,
    status: u16,
    detail: Option<String>,
    headers: Vec<(&'static str, String)>,
) -> LocalReply {
    let problem = ProblemBody {
        status,
        title: reason.title(),
        reason: reason.as_str(),
        detail: detail.as_deref(),
    };
    let body = Body {
        content_type: Problem::CONTENT_TYPE,
        bytes: serde_json::to_vec(&problem).unwrap_or_default(),
    };
    reply(reason, status, detail, headers, body)
}

struct Body {
    content_type: &'static str,
    bytes: Vec<u8>,
}

fn reply(
    reason: RejectReason,
    status: u16,
    detail: Option<String>,
    mut headers: Vec<(&'static str, String)>,
    body: Body,
) -> LocalReply {
    headers.push(("content-type", body.content_type.to_owned()));
    headers.push(("x-content-type-options", "nosniff".to_owned()));
    LocalReply {
        body: body.bytes,
        reason,
        route: None,
        detail,
        status,
        headers,
    }
}

/// Problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
#[derive(Serialize)]
struct ProblemBody<'a> {
    status: u16,
    title: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

fn login_location(login_path: &str, path: Option<&str>) -> String {
    let Some(path) = path else {
        return login_path.to_owned();
    };
    let return_to = utf8_percent_encode(path, NOT_UNRESERVED);
    format!("{login_path}?return_to={return_to}")
}

/// Whether a `Set-Cookie` value may be forwarded: one line, and not the login cookie, since a late 440 would log out a
/// user who has logged in meanwhile.
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

    fn client(headers: &[(&str, &str)]) -> ClientKind {
        let headers = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
        let line: [(&[u8], &[u8]); 1] = [(b":authority", b"h")];
        let request = Request::read(line.into_iter().chain(headers), &[]).unwrap();
        ClientKind::classify(&request, &["/api".to_owned()], None)
    }

    #[test]
    fn navigations_differ_from_scripts() {
        let get = |path, extra_headers: &[(&'static str, &'static str)]| {
            let mut headers = vec![(":method", "GET"), (":path", path)];
            headers.extend(extra_headers);
            client(&headers)
        };
        let page = |path: &str| ClientKind::Navigation(Some(path.to_owned()));
        assert_eq!(get("/a?b", &[("sec-fetch-mode", "navigate")]), page("/a?b"));
        assert_eq!(get("/a", &[("accept", "text/html,*/*")]), page("/a"));
        assert_eq!(get("/apix", &[("accept", "text/html")]), page("/apix"));
        assert_eq!(get("/api", &[("accept", "text/html")]), ClientKind::Api);
        assert_eq!(
            get("/api/a?b", &[("sec-fetch-mode", "navigate")]),
            ClientKind::Api
        );
        assert_eq!(
            get("/a", &[("accept", "application/json")]),
            ClientKind::Api
        );
        assert_eq!(get("/a", &[]), ClientKind::Api);
        let script = [("sec-fetch-mode", "cors"), ("accept", "text/html")];
        assert_eq!(get("/a", &script), ClientKind::Api);
        let post = [
            (":method", "POST"),
            (":path", "/a"),
            ("accept", "text/html"),
        ];
        assert_eq!(client(&post), ClientKind::Api);
    }

    #[test]
    fn return_to_is_encoded_as_one_parameter() {
        assert_eq!(
            login_location("/login", Some("/app/a%20b?x=1&y=2")),
            "/login?return_to=%2Fapp%2Fa%2520b%3Fx%3D1%26y%3D2"
        );
        assert_eq!(login_location("/login", None), "/login");
    }

    #[test]
    fn only_a_safe_cookie_is_forwarded() {
        let safe = |cookie| is_safe_cookie(cookie, "berth");
        assert!(safe("berth-anon=abc; Path=/; HttpOnly; SameSite=Lax"));
        assert!(!safe("berth=abc; Path=/"));
        assert!(!safe(" Berth =abc"));
        assert!(!safe("berth-anon=a\r\nx: y"));
        assert!(!safe("berth-anon"));
        assert!(!safe("=x"));
    }
}
