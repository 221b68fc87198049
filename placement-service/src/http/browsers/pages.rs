//! The pages: the login page, the page after a login and the account page, which work without scripts, and the demo page at `/`. Their
//! styles and scripts are inline. The demo page may also import the browser module.

mod account_page;
mod template;

pub(super) use account_page::AccountPage;

use crate::config::OidcProvider;
use crate::core::return_to::ReturnTo;
use crate::http::paths::oidc_path;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use openidconnect::url::Url;
use template::{content_security_policy, escape, fill_template, page_response, source_hash};

const STYLE: &str = include_str!("../../../assets/style.css");
const SCRIPT: &str = include_str!("../../../assets/demo.js");
const LOGIN: &str = include_str!("../../../assets/login.html");
const LOGIN_FORM: &str = include_str!("../../../assets/login-form.html");
const LOGGED_IN: &str = include_str!("../../../assets/logged-in.html");
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
        self.login_with(status, &alert, username, return_to)
    }

    /// The login page after a logout.
    pub fn logged_out(&self, return_to: Option<&ReturnTo>) -> Response {
        let notice = "<p role=\"status\">You are logged out.</p>";
        let return_to = return_to.map_or("", ReturnTo::as_str);
        self.login_with(StatusCode::OK, notice, "", return_to)
    }

    /// A page that continues to a path of this site by itself.
    pub fn logged_in(&self, return_to: &str) -> Response {
        let values = [("style", STYLE), ("return_to", &escape(return_to))];
        let page = fill_template(LOGGED_IN, &values);
        page_response(StatusCode::OK, &self.login_policy, page)
    }

    /// The login page with a message, which is HTML.
    fn login_with(
        &self,
        status: StatusCode,
        message: &str,
        username: &str,
        return_to: &str,
    ) -> Response {
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
            ("message", message),
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
    async fn the_page_after_a_login_goes_on_to_an_escaped_path() {
        let pages = Pages::new(false, &[]);
        let page = text(pages.logged_in("/app/x?a=1&b=\";<i>")).await;
        let path = "/app/x?a=1&amp;b=&quot;;&lt;i&gt;";
        let refresh = format!("<meta http-equiv=\"refresh\" content=\"0; url={path}\">");
        assert!(page.contains(&refresh), "{page}");
        assert!(page.contains(&format!("href=\"{path}\"")), "{page}");
        assert!(!page.contains("{{") && !page.contains("<script"));
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
