//! Parses the bodies of the requests by which users manage their account, a form or JSON: untrusted bytes in, bounded
//! fields out. Knows no account.

use super::login_form::{Format, check_length, read_form};
use crate::core::secret::Secret;
use crate::http::body;
use crate::http::problem::HttpProblem;
use crate::login::accounts::MAX_PASSWORD_BYTES;
use berth_api::MAX_STREAM_NAME;
use serde::Deserialize;
use utoipa::ToSchema;

/// In the place of a `session_ref`: all but the current one. Every `session_ref` is longer.
const OTHERS: &str = "others";

/// The body of a change of the password.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = PasswordChange)]
pub(in crate::http) struct PasswordFields {
    current_password: Option<String>,
    new_password: Option<String>,
}

/// The body that ends sessions.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = SessionEnd)]
pub(in crate::http) struct SessionFields {
    /// A `session_ref`, or `others`: all logins but the current one.
    session: Option<String>,
}

/// The current and the new password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PasswordForm {
    pub(super) current: Secret,
    pub(super) new: Secret,
}

/// Which sessions to end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SessionChoice {
    One(String),
    Others,
}

/// Parses a change of the password.
pub(super) fn parse_password(format: Format, body: &[u8]) -> Result<PasswordForm, HttpProblem> {
    let mut fields = PasswordFields::default();
    match format {
        Format::Json => fields = body::parse_json(body)?,
        Format::Form => read_form(
            body,
            [
                ("current_password", &mut fields.current_password),
                ("new_password", &mut fields.new_password),
            ],
        )?,
    }
    let password = |name: &str, value: Option<String>| {
        check_length(name, value, MAX_PASSWORD_BYTES).map(Secret::new)
    };
    Ok(PasswordForm {
        current: password("current_password", fields.current_password)?,
        new: password("new_password", fields.new_password)?,
    })
}

/// Parses which sessions to end.
pub(super) fn parse_session(format: Format, body: &[u8]) -> Result<SessionChoice, HttpProblem> {
    let mut fields = SessionFields::default();
    match format {
        Format::Json => fields = body::parse_json(body)?,
        Format::Form => read_form(body, [("session", &mut fields.session)])?,
    }
    let session = check_length("session", fields.session, MAX_STREAM_NAME)?;
    Ok(if session == OTHERS {
        SessionChoice::Others
    } else {
        SessionChoice::One(session)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_json_have_the_same_fields() {
        let expected = PasswordForm {
            current: Secret::new("a&b".to_owned()),
            new: Secret::new("c d".to_owned()),
        };
        let form = b"current_password=a%26b&new_password=c+d&x=1";
        assert_eq!(parse_password(Format::Form, form).unwrap(), expected);
        let json = br#"{"current_password":"a&b","new_password":"c d","x":1}"#;
        assert_eq!(parse_password(Format::Json, json).unwrap(), expected);
        let one = SessionChoice::One("ref-1".to_owned());
        assert_eq!(parse_session(Format::Form, b"session=ref-1").unwrap(), one);
        let others = parse_session(Format::Json, br#"{"session":"others"}"#);
        assert_eq!(others.unwrap(), SessionChoice::Others);
    }

    #[test]
    fn missing_long_and_repeated_fields_are_refused() {
        let detail = |problem: HttpProblem| {
            serde_json::to_value(&problem).unwrap()["detail"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        for (body, expected) in [
            ("", "session is missing".to_owned()),
            ("session=a&session=b", "session came twice".to_owned()),
            (
                &format!("session={}", "a".repeat(MAX_STREAM_NAME + 1)),
                "session is too long".to_owned(),
            ),
        ] {
            let problem = parse_session(Format::Form, body.as_bytes()).unwrap_err();
            assert_eq!(detail(problem), expected);
        }
        let problem = parse_password(Format::Json, br#"{"current_password":"a"}"#).unwrap_err();
        assert_eq!(detail(problem), "new_password is missing");
    }
}
