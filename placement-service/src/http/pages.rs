//! The two pages: login, which works without script, and the demonstration at `/`. Each has its style and
//! script inside, allowed by their hashes (Content Security Policy); the demonstration may besides import the
//! browser module.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/demo.js");
const LOGIN: &str = include_str!("../../assets/login.html");
const DEMO: &str = include_str!("../../assets/demo.html");

/// The pages, put together once as far as they are the same for all.
pub struct Pages {
    demo: String,
    demo_policy: HeaderValue,
    login_policy: HeaderValue,
    /// HTML between the heading and the form of the login page: a link of class `button` for each identity
    /// provider, in one `div` of class `providers`.
    providers: String,
}

impl Pages {
    /// Puts style and script into the documents.
    #[must_use]
    pub fn new() -> Self {
        let style = source_hash(STYLE);
        let script = source_hash(SCRIPT);
        Self {
            demo: fill(DEMO, &[("style", STYLE), ("script", SCRIPT)]),
            demo_policy: policy(&format!(
                "style-src '{style}'; script-src '{script}' 'self'; connect-src 'self'"
            )),
            login_policy: policy(&format!("style-src '{style}'")),
            providers: String::new(),
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
        let alert = if message.is_empty() {
            String::new()
        } else {
            format!("<p class=\"alert\" role=\"alert\">{}</p>", escape(message))
        };
        // Whoever has given a name goes on with the password.
        let (at_name, at_password) = if username.is_empty() {
            (" autofocus", "")
        } else {
            ("", " autofocus")
        };
        let values = [
            ("style", STYLE),
            ("alert", &alert),
            ("providers", &self.providers),
            ("username", &escape(username)),
            ("focus-username", at_name),
            ("focus-password", at_password),
            ("return_to", &escape(return_to)),
        ];
        answer(status, &self.login_policy, fill(LOGIN, &values))
    }

    /// The demonstration.
    pub fn demo(&self) -> Response {
        answer(StatusCode::OK, &self.demo_policy, self.demo.clone())
    }
}

fn answer(status: StatusCode, policy: &HeaderValue, page: String) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
        (header::CACHE_CONTROL, fixed("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
        // Not no-referrer: browsers would then send `Origin: null` with the login form.
        (header::REFERRER_POLICY, fixed("same-origin")),
    ];
    (status, headers, Html(page)).into_response()
}

/// A policy that allows this and nothing else.
fn policy(allowed: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; {allowed}; img-src data:; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// The template with its `{{marks}}` replaced. The values are not looked into: they may be a user's.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, (mark, after))) = rest
        .split_once("{{")
        .and_then(|(before, marked)| Some((before, marked.split_once("}}")?)))
    {
        page.push_str(before);
        let value = values.iter().find(|(name, _)| *name == mark);
        page.push_str(value.map_or("", |(_, value)| value));
        rest = after;
    }
    page.push_str(rest);
    page
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
        for (tag, end) in [
            ("<style>", "</style>"),
            ("<script type=\"module\">", "</script>"),
        ] {
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

    #[tokio::test]
    async fn the_login_page_runs_no_script_and_starts_where_the_user_goes_on() {
        let pages = Pages::new();
        let response = pages.login(StatusCode::OK, "", "", "");
        let policy = response.headers()["content-security-policy"].clone();
        assert!(!policy.to_str().unwrap().contains("script-src"));
        let focused = |page: &str| {
            let (before, _) = page.split_once(" autofocus").unwrap();
            let (_, field) = before.rsplit_once("name=\"").unwrap();
            field.split('"').next().unwrap().to_owned()
        };
        assert_eq!(focused(&text(response).await), "username");
        let again = pages.login(StatusCode::UNAUTHORIZED, "wrong", "ada", "");
        assert_eq!(focused(&text(again).await), "password");
    }
}
