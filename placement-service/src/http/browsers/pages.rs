//! The pages: the login page and the account page, which work without scripts, and the demo page at `/`. Their styles and
//! scripts are inline, and the Content Security Policy allows these by hash. The demo page may also import the browser
//! module.

mod account_page;

pub(super) use account_page::AccountPage;

use crate::config::OidcProvider;
use crate::core::return_to::ReturnTo;
use crate::http::paths::oidc_path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openidconnect::url::Url;
use sha2::{Digest, Sha256};

const STYLE: &str = include_str!("../../../assets/style.css");
const SCRIPT: &str = include_str!("../../../assets/demo.js");
const LOGIN: &str = include_str!("../../../assets/login.html");
const LOGIN_FORM: &str = include_str!("../../../assets/login-form.html");
const DEMO: &str = include_str!("../../../assets/demo.html");

/// The pages; the parts that are equal for all users are built once.
pub struct Pages {
    demo: String,
    demo_policy: HeaderValue,
    login_policy: HeaderValue,
    account_policy: HeaderValue,
    /// Whether the login page has a form for local accounts.
    local: bool,
    /// Name and title of each identity provider.
    providers: Vec<(String, String)>,
}

impl Pages {
    /// Inserts styles and scripts into the pages. With `local`, the login page has a form for local accounts.
    #[must_use]
    pub fn new(local: bool, providers: &[OidcProvider]) -> Self {
        // The logout form redirects to the provider, so the policy must allow the provider as a target of forms.
        let issuers = providers.iter().filter_map(|p| Url::parse(&p.issuer).ok());
        let targets: String = issuers
            .map(|url| format!(" {}", url.origin().ascii_serialization()))
            .collect();
        let style = source_hash(STYLE);
        let script = source_hash(SCRIPT);
        Self {
            demo: fill_template(DEMO, &[("style", STYLE), ("script", SCRIPT)]),
            demo_policy: content_security_policy(
                &format!("style-src '{style}'; script-src '{script}' 'self'; connect-src 'self'"),
                &targets,
            ),
            login_policy: content_security_policy(&format!("style-src '{style}'"), ""),
            account_policy: content_security_policy(&format!("style-src '{style}'"), &targets),
            local,
            providers: providers
                .iter()
                .map(|p| (p.name.clone(), p.title().to_owned()))
                .collect(),
        }
    }

    /// The login page. `message` says what failed before; `username` is filled in.
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
        // If the name is filled in, the user continues with the password.
        let (at_name, at_password) = if username.is_empty() {
            (" autofocus", "")
        } else {
            ("", " autofocus")
        };
        let (username, kept_return_to) = (escape(username), escape(return_to));
        let form = [
            ("username", username.as_str()),
            ("focus-username", at_name),
            ("focus-password", at_password),
            ("return_to", &kept_return_to),
        ];
        let form = if self.local {
            fill_template(LOGIN_FORM, &form)
        } else {
            String::new()
        };
        let values = [
            ("style", STYLE),
            ("alert", alert.as_str()),
            (
                "providers",
                &self.provider_links(ReturnTo::parse(return_to).as_ref()),
            ),
            ("form", &form),
        ];
        page_response(status, &self.login_policy, fill_template(LOGIN, &values))
    }

    /// A link to each identity provider.
    fn provider_links(&self, return_to: Option<&ReturnTo>) -> String {
        if self.providers.is_empty() {
            return String::new();
        }
        let link = |(name, title): &(String, String)| {
            let (path, title) = (escape(&oidc_path(name, return_to)), escape(title));
            format!("<a class=\"button\" href=\"{path}\">Log in with {title}</a>\n")
        };
        let links: String = self.providers.iter().map(link).collect();
        format!("<div class=\"providers\">\n{links}</div>")
    }

    /// The demo page.
    pub fn demo(&self) -> Response {
        page_response(StatusCode::OK, &self.demo_policy, self.demo.clone())
    }
}

fn page_response(status: StatusCode, policy: &HeaderValue, page: String) -> Response {
    let fixed = HeaderValue::from_static;
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
        (header::CACHE_CONTROL, fixed("no-store")),
        // Not no-referrer: browsers would then send `Origin: null` with the login form.
        (header::REFERRER_POLICY, fixed("same-origin")),
    ];
    (status, headers, Html(page)).into_response()
}

/// A Content Security Policy that allows this and nothing else; `targets` are further targets of forms.
fn content_security_policy(allowed: &str, targets: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; {allowed}; img-src data:; form-action 'self'{targets}; base-uri 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// Replaces the `{{marks}}` of a template. Marks within values are not replaced, because a user may have sent the
/// value.
fn fill_template(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len());
    let mut remaining = template;
    while let Some((before, (mark, after))) = remaining
        .split_once("{{")
        .and_then(|(before, marked)| Some((before, marked.split_once("}}")?)))
    {
        page.push_str(before);
        let value = values.iter().find(|(name, _)| *name == mark);
        page.push_str(value.map_or("", |(_, value)| value));
        remaining = after;
    }
    page.push_str(remaining);
    page
}

fn source_hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Escapes a text for HTML content and for quoted attributes.
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
    async fn the_policy_allows_exactly_the_inline_parts() {
        let pages = Pages::new(true, &[]);
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
    async fn input_of_users_is_escaped() {
        let pages = Pages::new(true, &[]);
        let markup = "\"><script>alert(1)</script>{{username}}'&";
        let page = text(pages.login(StatusCode::UNAUTHORIZED, "no <b>", markup, markup)).await;
        assert!(!page.contains("<script>") && !page.contains("<b>"));
        let escaped =
            "value=\"&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{username}}&#39;&amp;\"";
        assert_eq!(page.matches(escaped).count(), 2);
        let page = text(pages.login(StatusCode::OK, "", "", "/app/x")).await;
        assert!(page.contains("value=\"/app/x\"") && !page.contains("role=\"alert\""));
        assert!(!page.contains("{{"));
    }

    #[tokio::test]
    async fn the_login_page_runs_no_script_and_focuses_the_next_field() {
        let pages = Pages::new(true, &[]);
        let response = pages.login(StatusCode::OK, "", "", "");
        let policy = response.headers()["content-security-policy"].clone();
        assert!(!policy.to_str().unwrap().contains("script-src"));
        let focused = |page: &str| {
            let (before, _) = page.split_once(" autofocus").unwrap();
            let (_, field) = before.rsplit_once("name=\"").unwrap();
            field.split('"').next().unwrap().to_owned()
        };
        assert_eq!(focused(&text(response).await), "username");
        let page_again = pages.login(StatusCode::UNAUTHORIZED, "wrong", "ada", "");
        assert_eq!(focused(&text(page_again).await), "password");
    }
}
