//! The page where users see and end their logins, and change their password. Works without scripts. Decides nothing about
//! sessions.

use super::template::{escape, fill_template, page_response};
use super::{Pages, STYLE};
use crate::sessions::OwnLogin;
use axum::http::StatusCode;
use axum::response::Response;
use humantime_serde::re::humantime::format_rfc3339_seconds;
use std::time::{Duration, UNIX_EPOCH};

const ACCOUNT: &str = include_str!("../../../../assets/account.html");
const PASSWORD_FORM: &str = include_str!("../../../../assets/password-form.html");

/// What the page shows.
#[derive(Clone, Copy, Debug)]
pub(in crate::http::browsers) struct AccountPage<'a> {
    pub(in crate::http::browsers) account: &'a str,
    pub(in crate::http::browsers) display_name: &'a str,
    pub(in crate::http::browsers) logins: &'a [OwnLogin],
    /// Whether the account has a password here.
    pub(in crate::http::browsers) has_password: bool,
    /// What has been done; may be empty.
    pub(in crate::http::browsers) notice: &'a str,
    /// What has failed; may be empty.
    pub(in crate::http::browsers) alert: &'a str,
}

impl Pages {
    /// The account page.
    pub(in crate::http::browsers) fn account(
        &self,
        status: StatusCode,
        page: &AccountPage<'_>,
    ) -> Response {
        let message = match (page.alert, page.notice) {
            ("", "") => String::new(),
            ("", notice) => format!("<p role=\"status\">{}</p>", escape(notice)),
            (alert, _) => format!("<p class=\"alert\" role=\"alert\">{}</p>", escape(alert)),
        };
        let logins: String = page.logins.iter().map(login_row).collect();
        let others = if page.logins.iter().any(|login| !login.current) {
            end_form("others", "End all other logins")
        } else {
            String::new()
        };
        let password = if page.has_password {
            fill_template(PASSWORD_FORM, &[("account", &escape(page.account))])
        } else {
            String::new()
        };
        let values = [
            ("style", STYLE),
            ("who", &escape(page.display_name)),
            ("message", &message),
            ("logins", &logins),
            ("others", &others),
            ("password", &password),
        ];
        page_response(
            status,
            &self.account_policy,
            fill_template(ACCOUNT, &values),
        )
    }
}

fn login_row(login: &OwnLogin) -> String {
    let action = if login.current {
        "this browser".to_owned()
    } else {
        end_form(&login.session_ref, "End")
    };
    let (since, seen) = (time(login.created_at), time(login.last_seen_at));
    format!("<tr><td>{since}</td><td>{seen}</td><td>{action}</td></tr>\n")
}

fn end_form(session: &str, label: &str) -> String {
    let session = escape(session);
    format!(
        "<form method=\"post\" action=\"/login/account/sessions/end\">\
         <input type=\"hidden\" name=\"session\" value=\"{session}\"><button>{label}</button></form>"
    )
}

/// UTC, because the server does not know the time zone of the browser.
fn time(unix_s: u64) -> String {
    let text = format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(unix_s)).to_string();
    let shown = text.replace('T', " ").replace('Z', " UTC");
    format!("<time datetime=\"{text}\">{shown}</time>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[tokio::test]
    async fn the_page_lists_logins_and_escapes_names() {
        let login = |session_ref: &str, current| OwnLogin {
            session_ref: session_ref.to_owned(),
            created_at: 1_700_000_000,
            last_seen_at: 1_700_000_060,
            current,
        };
        let logins = [login("mine", true), login("other", false)];
        let page = AccountPage {
            account: "demo",
            display_name: "<b>Zoë</b>",
            logins: &logins,
            has_password: false,
            notice: "",
            alert: "<i>no</i>",
        };
        let pages = Pages::new(true, &[]);
        let text = async |page: &AccountPage<'_>| {
            let body = pages.account(StatusCode::OK, page).into_body();
            String::from_utf8(to_bytes(body, 100_000).await.unwrap().to_vec()).unwrap()
        };
        let shown = text(&page).await;
        assert!(shown.contains("&lt;b&gt;Zoë&lt;/b&gt;") && shown.contains("&lt;i&gt;no"));
        assert!(shown.contains("2023-11-14 22:13:20 UTC</time>"), "{shown}");
        assert!(shown.contains("value=\"other\"") && shown.contains("value=\"others\""));
        assert!(!shown.contains("value=\"mine\"") && !shown.contains("new_password"));
        let with_password = AccountPage {
            has_password: true,
            logins: &logins[..1],
            ..page
        };
        let shown = text(&with_password).await;
        assert!(shown.contains("new_password") && !shown.contains("value=\"others\""));
        assert!(!shown.contains("{{"));
    }
}
