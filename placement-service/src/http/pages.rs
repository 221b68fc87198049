//! The two pages: login, and the demonstration at `/`. Each is one document with its style and script
//! inside, allowed by their hashes and nothing else (Content Security Policy), so that no further
//! route is needed.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/demo.js");
const LOGIN: &str = include_str!("../../assets/login.html");
const DEMO: &str = include_str!("../../assets/demo.html");

/// The pages, put together once.
pub struct Pages {
    login: String,
    demo: String,
    policy: HeaderValue,
}

impl Pages {
    /// Puts style and script into the documents.
    #[must_use]
    pub fn new() -> Self {
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; \
             img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
            source_hash(STYLE),
            source_hash(SCRIPT),
        );
        Self {
            login: LOGIN.replace("{{style}}", STYLE),
            demo: DEMO
                .replace("{{style}}", STYLE)
                .replace("{{script}}", SCRIPT),
            policy: HeaderValue::try_from(policy)
                .unwrap_or(HeaderValue::from_static("default-src 'none'")),
        }
    }

    /// The login page; `message` says what went wrong before, `username` is kept in its field.
    pub fn login(
        &self,
        status: StatusCode,
        message: &str,
        username: &str,
        return_to: &str,
    ) -> Response {
        // The user's texts last, so that they cannot hold a mark themselves.
        let alert = if message.is_empty() {
            String::new()
        } else {
            format!("<p class=\"alert\" role=\"alert\">{}</p>", escape(message))
        };
        let (before, rest) = self.login.split_once("{{alert}}").unwrap_or_default();
        let (middle, rest) = rest.split_once("{{username}}").unwrap_or_default();
        let (after, end) = rest.split_once("{{return_to}}").unwrap_or_default();
        let (username, return_to) = (escape(username), escape(return_to));
        let page = [before, &alert, middle, &username, after, &return_to, end].concat();
        self.answer(status, page)
    }

    /// The demonstration.
    pub fn demo(&self) -> Response {
        self.answer(StatusCode::OK, self.demo.clone())
    }

    fn answer(&self, status: StatusCode, page: String) -> Response {
        let headers = [
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
            // Not no-referrer: browsers would then send `Origin: null` with the login form.
            (
                header::REFERRER_POLICY,
                HeaderValue::from_static("same-origin"),
            ),
        ];
        (status, headers, Html(page)).into_response()
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self::new()
    }
}

fn source_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Text for HTML content and for quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    async fn text(response: Response) -> String {
        let body = to_bytes(response.into_body(), 1_000_000).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_policy_allows_exactly_what_is_inside() {
        let pages = Pages::new();
        let response = pages.demo();
        let policy = response.headers()["content-security-policy"].clone();
        let policy = policy.to_str().unwrap();
        let page = text(response).await;
        for (tag, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
            let inside = page.split(tag).nth(1).unwrap().split(end).next().unwrap();
            assert!(policy.contains(&source_hash(inside)), "{tag}");
            assert_eq!(page.matches(tag).count(), 1);
        }
        assert!(!policy.contains("unsafe"));
        assert!(!page.contains("{{"));
        for outside in ["http://", "https://", "src=\"//", " style=", " onclick="] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[tokio::test]
    async fn what_users_send_stays_text() {
        let pages = Pages::new();
        let evil = "\"><script>alert(1)</script>{{username}}'&";
        let page = text(pages.login(StatusCode::UNAUTHORIZED, "no <b>", evil, evil)).await;
        assert!(!page.contains("<script>") && !page.contains("<b>"));
        let kept =
            "value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{username}}&#39;&amp;\"";
        assert_eq!(page.matches(kept).count(), 2);
        let page = text(pages.login(StatusCode::OK, "", "", "/app/x")).await;
        assert!(page.contains("value=\"/app/x\"") && !page.contains("role=\"alert\""));
        assert!(!page.contains("{{"));
    }
}
