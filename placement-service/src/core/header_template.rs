//! Values of request headers for engines, such as `{account}` or `team-{claims.team}`. Decides how a text becomes visible
//! ASCII, and when a header is left out. Knows no request.

use super::text_template::{BraceError, Piece, TextTemplate};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use std::fmt::Write as _;

/// What is percent-encoded in a value, besides everything beyond ASCII. Other characters stay as they are.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%');
/// In a role, a comma would look like the end of the role.
const ENCODED_IN_ROLES: &AsciiSet = &ENCODED.add(b',');

/// The value of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Account,
    Roles,
    Key,
    Claim(String),
}

/// The fault of a [`HeaderTemplate`]. `Display` gives the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderTemplateError {
    #[error("must be visible ASCII with {{account}}, {{roles}}, {{key}} or {{claims.NAME}}")]
    Text,
    #[error(transparent)]
    Brace(#[from] BraceError),
    #[error("uses {{{0}}}; known are {{account}}, {{roles}}, {{key}} and {{claims.NAME}}")]
    Unknown(String),
}

/// What a value may contain.
#[derive(Clone, Copy)]
pub struct HeaderSources<'a> {
    pub account: &'a str,
    pub roles: &'a [String],
    /// The opaque name of the key, if there is one.
    pub key: Option<&'a str>,
    /// The claims of the session besides the standard ones.
    pub claims: &'a serde_json::Map<String, serde_json::Value>,
}

impl HeaderTemplate {
    /// Reads a value.
    ///
    /// # Errors
    /// It is empty, has characters that no header may have, or an unknown placeholder.
    pub fn parse(text: &str) -> Result<Self, HeaderTemplateError> {
        if text.is_empty() || text.trim() != text {
            return Err(HeaderTemplateError::Text);
        }
        let template = TextTemplate::parse(text)?;
        let parts = template.pieces().iter().map(|piece| match piece {
            Piece::Literal(literal) => {
                let allowed = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
                if literal.bytes().all(allowed) {
                    Ok(Part::Literal(literal.clone()))
                } else {
                    Err(HeaderTemplateError::Text)
                }
            }
            Piece::Placeholder(name) => Part::from_placeholder(name),
        });
        parts.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the value contains the key.
    #[must_use]
    pub fn uses_key(&self) -> bool {
        self.0.contains(&Part::Key)
    }

    /// The value: literals as they are, other texts with blanks, `%` and everything that is no visible ASCII
    /// percent-encoded as UTF-8; roles separated by commas. `None` if a part is missing: the header is left out.
    #[must_use]
    pub fn render(&self, sources: &HeaderSources<'_>) -> Option<String> {
        let mut value = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => value.push_str(literal),
                Part::Account => push_encoded(&mut value, sources.account, ENCODED),
                Part::Key => push_encoded(&mut value, sources.key?, ENCODED),
                Part::Roles => {
                    for (index, role) in sources.roles.iter().enumerate() {
                        if index > 0 {
                            value.push(',');
                        }
                        push_encoded(&mut value, role, ENCODED_IN_ROLES);
                    }
                }
                Part::Claim(name) => match sources.claims.get(name)? {
                    serde_json::Value::Null => return None,
                    serde_json::Value::String(text) => push_encoded(&mut value, text, ENCODED),
                    other => push_encoded(&mut value, &other.to_string(), ENCODED),
                },
            }
        }
        Some(value)
    }
}

impl Part {
    fn from_placeholder(name: &str) -> Result<Self, HeaderTemplateError> {
        let claim = name
            .strip_prefix("claims.")
            .filter(|claim| !claim.is_empty());
        match (name, claim) {
            ("account", _) => Ok(Self::Account),
            ("roles", _) => Ok(Self::Roles),
            ("key", _) => Ok(Self::Key),
            (_, Some(claim)) => Ok(Self::Claim(claim.to_owned())),
            (name, None) => Err(HeaderTemplateError::Unknown(name.to_owned())),
        }
    }
}

fn push_encoded(value: &mut String, text: &str, set: &'static AsciiSet) {
    // Writing to a string does not fail.
    let _ = write!(value, "{}", utf8_percent_encode(text, set));
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use serde_json::json;

    fn render(text: &str) -> Option<String> {
        let claims =
            json!({"email": "ada@example.com", "dept": "R&D café", "level": 3, "none": null});
        let roles = ["user".to_owned(), "a,b".to_owned()];
        let sources = HeaderSources {
            account: "ada lovelace",
            roles: &roles,
            key: None,
            claims: claims.as_object().unwrap(),
        };
        HeaderTemplate::parse(text).unwrap().render(&sources)
    }

    #[test]
    fn values_are_visible_ascii() {
        for (text, value) in [
            ("{account}", "ada%20lovelace"),
            ("{roles}", "user,a%2Cb"),
            ("{claims.email}", "ada@example.com"),
            ("{claims.dept}", "R&D%20caf%C3%A9"),
            ("{claims.level}", "3"),
            ("user {account};100%", "user ada%20lovelace;100%"),
        ] {
            assert_eq!(render(text).as_deref(), Some(value), "{text}");
        }
    }

    #[test]
    fn a_header_with_a_missing_part_is_left_out() {
        for text in ["{claims.phone}", "a-{claims.none}", "{account}-{key}"] {
            assert_eq!(render(text), None, "{text}");
        }
        assert!(HeaderTemplate::parse("{key}").unwrap().uses_key());
    }

    #[test]
    fn faults_are_named() {
        let unknown = |name: &str| HeaderTemplateError::Unknown(name.to_owned());
        for (text, error) in [
            ("", HeaderTemplateError::Text),
            (" a", HeaderTemplateError::Text),
            ("a\r\nx: y", HeaderTemplateError::Text),
            ("é", HeaderTemplateError::Text),
            ("{user}", unknown("user")),
            ("{claims.}", unknown("claims.")),
            ("{account", HeaderTemplateError::Brace(BraceError)),
        ] {
            assert_eq!(HeaderTemplate::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_account_survives_encoding(account in ".{0,40}") {
            let sources = HeaderSources { account: &account, roles: &[], key: None, claims: &serde_json::Map::new() };
            let value = HeaderTemplate::parse("{account}").unwrap().render(&sources).unwrap();
            prop_assert!(value.bytes().all(|byte| byte.is_ascii_graphic()));
            prop_assert_eq!(percent_decode_str(&value).decode_utf8().unwrap(), account);
        }
    }
}
