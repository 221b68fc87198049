//! Parses the body of a login, a form or JSON: untrusted bytes in, bounded fields out. Knows no account.

use crate::core::names::MAX_NAME_BYTES;
use crate::core::return_to;
use crate::core::secret::Secret;
use crate::http::body;
use crate::http::problem::HttpProblem;
use crate::login::accounts::MAX_PASSWORD_BYTES;
use serde::Deserialize;
use utoipa::ToSchema;

/// The format of the body, by its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/x-www-form-urlencoded`: the response is a page or a redirect.
    Form,
    /// `application/json`: the response is JSON.
    Json,
}

impl Format {
    /// The format of a `Content-Type`.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Some(Self::Form)
        } else if media_type.eq_ignore_ascii_case("application/json") {
            Some(Self::Json)
        } else {
            None
        }
    }
}

/// A login. Name and password are not empty and within their limits; nothing else about them is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginForm {
    pub username: String,
    pub password: Secret,
    pub return_to: Option<String>,
}

/// The fields of the body, not yet checked.
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = Login)]
pub(in crate::http) struct LoginFields {
    username: Option<String>,
    password: Option<String>,
    return_to: Option<String>,
}

/// Parses a login. A field that occurs twice is an error; unknown fields are ignored.
pub fn parse(format: Format, body: &[u8]) -> Result<LoginForm, HttpProblem> {
    let fields = match format {
        Format::Json => body::parse_json(body)?,
        Format::Form => form_fields(body)?,
    };
    Ok(LoginForm {
        username: check_length("username", fields.username, MAX_NAME_BYTES)?,
        password: Secret::new(check_length(
            "password",
            fields.password,
            MAX_PASSWORD_BYTES,
        )?),
        return_to: fields
            .return_to
            .filter(|text| text.len() <= return_to::MAX_BYTES),
    })
}

fn form_fields(body: &[u8]) -> Result<LoginFields, HttpProblem> {
    let mut fields = LoginFields::default();
    let slots = [
        ("username", &mut fields.username),
        ("password", &mut fields.password),
        ("return_to", &mut fields.return_to),
    ];
    read_form(body, slots)?;
    Ok(fields)
}

/// Reads the fields of a form by their names. A field that occurs twice is an error; others are ignored.
pub(super) fn read_form<const N: usize>(
    body: &[u8],
    mut slots: [(&str, &mut Option<String>); N],
) -> Result<(), HttpProblem> {
    for (name, value) in form_urlencoded::parse(body) {
        let slot = slots.iter_mut().find(|(known, _)| *known == name);
        let Some((_, slot)) = slot else { continue };
        if slot.replace(value.into_owned()).is_some() {
            return Err(HttpProblem::invalid_request(format!("{name} came twice")));
        }
    }
    Ok(())
}

/// A field that must be present and within its limit.
pub(super) fn check_length(
    name: &str,
    value: Option<String>,
    max: usize,
) -> Result<String, HttpProblem> {
    let value = value.unwrap_or_default();
    if value.is_empty() {
        return Err(HttpProblem::invalid_request(format!("{name} is missing")));
    }
    if value.len() > max {
        return Err(HttpProblem::invalid_request(format!("{name} is too long")));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn detail(format: Format, body: &str) -> String {
        let problem = parse(format, body.as_bytes()).unwrap_err();
        serde_json::to_value(&problem).unwrap()["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    #[test]
    fn forms_and_json_have_the_same_fields() {
        let form = b"username=demo&password=a%26b+c&return_to=%2Fapp%2Fx&extra=1";
        let json = br#"{"username":"demo","password":"a&b c","return_to":"/app/x","extra":1}"#;
        let expected = LoginForm {
            username: "demo".to_owned(),
            password: Secret::new("a&b c".to_owned()),
            return_to: Some("/app/x".to_owned()),
        };
        assert_eq!(parse(Format::Form, form).unwrap(), expected);
        assert_eq!(parse(Format::Json, json).unwrap(), expected);
        assert!(!format!("{expected:?}").contains("a&b"));
    }

    #[test]
    fn fields_are_bounded_and_unique() {
        assert_eq!(detail(Format::Form, ""), "username is missing");
        assert_eq!(
            detail(Format::Form, "username=a&password="),
            "password is missing"
        );
        assert_eq!(
            detail(Format::Form, "username=a&username=b"),
            "username came twice"
        );
        assert_eq!(
            detail(Format::Json, "{\"username\":\"a\"}"),
            "password is missing"
        );
        assert_eq!(
            detail(Format::Json, "{\"username\":{}}"),
            "username is of the wrong type"
        );
        let too_long = format!("username={}&password=x", "a".repeat(MAX_NAME_BYTES + 1));
        assert_eq!(detail(Format::Form, &too_long), "username is too long");
        let too_long = format!("username=a&password={}", "a".repeat(MAX_PASSWORD_BYTES + 1));
        assert_eq!(detail(Format::Form, &too_long), "password is too long");
        let too_long = format!("username=a&password=b&return_to=/{}", "a".repeat(3000));
        assert_eq!(
            parse(Format::Form, too_long.as_bytes()).unwrap().return_to,
            None
        );
    }

    #[test]
    fn the_media_type_decides() {
        assert_eq!(
            Format::from_content_type("application/json; charset=utf-8"),
            Some(Format::Json)
        );
        assert_eq!(
            Format::from_content_type("APPLICATION/X-WWW-FORM-URLENCODED"),
            Some(Format::Form)
        );
        for other in ["", "text/plain", "application/jsonx", "multipart/form-data"] {
            assert_eq!(Format::from_content_type(other), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in [Format::Form, Format::Json] {
                if let Ok(form) = parse(format, &body) {
                    prop_assert!(form.username.len() <= MAX_NAME_BYTES);
                }
            }
        }
    }
}
