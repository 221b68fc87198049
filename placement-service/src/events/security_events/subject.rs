//! Parses the subject of a security event: the identifier formats of [RFC 9493](https://www.rfc-editor.org/rfc/rfc9493)
//! and the complex subject of the Shared Signals Framework. Must not know which sessions match it.

use super::error::SetError;
use serde_json::{Map, Value};

/// Identifies a user, in one of the supported formats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// Format `iss_sub`.
    IssuerSubject { issuer: String, subject: String },
    /// Format `email`.
    Email(String),
    /// Format `account`: the `acct:user@host` URI without `acct:`.
    Account(String),
}

/// Identifies a user, a session, or a session of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    User(User),
    /// Format `opaque`.
    Session(String),
    /// A session that must belong to the user.
    SessionOfUser {
        session: String,
        user: User,
    },
}

/// A simple (not complex) subject identifier.
enum Identifier {
    User(User),
    Opaque(String),
}

impl Subject {
    /// `None` when the format is unknown, so that the subject matches no session. Of a complex subject only `user` and
    /// `session` are used; sessions have no other member (such as device or tenant) to compare.
    pub fn parse(json: &Value) -> Result<Option<Self>, SetError> {
        let map = json.as_object().ok_or(MALFORMED)?;
        let complex = match map.get("format") {
            Some(format) => format.as_str().ok_or(MALFORMED)? == "complex",
            None => map.contains_key("user") || map.contains_key("session"),
        };
        if !complex {
            return Ok(parse_identifier(map)?.map(|identifier| match identifier {
                Identifier::User(user) => Self::User(user),
                Identifier::Opaque(session) => Self::Session(session),
            }));
        }
        let member = |name: &str| match map.get(name) {
            None => Ok(None),
            Some(member) => parse_identifier(member.as_object().ok_or(MALFORMED)?).map(Some),
        };
        Ok(match (member("user")?, member("session")?) {
            (Some(Some(Identifier::User(user))), None) => Some(Self::User(user)),
            (None, Some(Some(Identifier::Opaque(session)))) => Some(Self::Session(session)),
            (Some(Some(Identifier::User(user))), Some(Some(Identifier::Opaque(session)))) => {
                Some(Self::SessionOfUser { session, user })
            }
            // A member with an unknown format matches no session.
            _ => None,
        })
    }
}

const MALFORMED: SetError = SetError::invalid_request("sub_id is malformed");

fn parse_identifier(map: &Map<String, Value>) -> Result<Option<Identifier>, SetError> {
    let text = |name: &str| {
        let text = map.get(name).and_then(Value::as_str);
        let text = text.filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or(MALFORMED)
    };
    Ok(Some(match text("format")?.as_str() {
        "opaque" => Identifier::Opaque(text("id")?),
        "email" => Identifier::User(User::Email(text("email")?)),
        "iss_sub" => Identifier::User(User::IssuerSubject {
            issuer: text("iss")?,
            subject: text("sub")?,
        }),
        "account" => {
            let uri = text("uri")?;
            let account = uri
                .strip_prefix("acct:")
                .filter(|address| address.contains('@'));
            Identifier::User(User::Account(account.ok_or(MALFORMED)?.to_owned()))
        }
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(json: Value) -> Result<Option<Subject>, SetError> {
        Subject::parse(&json)
    }

    #[test]
    fn every_supported_format_is_parsed() {
        let user = || json!({"format": "iss_sub", "iss": "i", "sub": "s"});
        let issued = || User::IssuerSubject {
            issuer: "i".to_owned(),
            subject: "s".to_owned(),
        };
        let session = || json!({"format": "opaque", "id": "x"});
        let some_user = |user| Ok(Some(Subject::User(user)));
        assert_eq!(parse(user()), some_user(issued()));
        let email = json!({"format": "email", "email": "a@b"});
        assert_eq!(parse(email), some_user(User::Email("a@b".to_owned())));
        let account = json!({"format": "account", "uri": "acct:a@b"});
        assert_eq!(parse(account), some_user(User::Account("a@b".to_owned())));
        let of_session = Ok(Some(Subject::Session("x".to_owned())));
        assert_eq!(parse(session()), of_session);
        let complex = |parts: Value| {
            let mut complex = json!({"format": "complex", "tenant": session()});
            complex
                .as_object_mut()
                .unwrap()
                .extend(parts.as_object().unwrap().clone());
            parse(complex)
        };
        assert_eq!(complex(json!({"user": user()})), some_user(issued()));
        assert_eq!(complex(json!({"session": session()})), of_session);
        let expected = Ok(Some(Subject::SessionOfUser {
            session: "x".to_owned(),
            user: issued(),
        }));
        assert_eq!(
            complex(json!({"user": user(), "session": session()})),
            expected
        );
        let legacy = json!({"user": user(), "session": session()});
        assert_eq!(parse(legacy), expected, "without a format, as in drafts");
    }

    #[test]
    fn an_unknown_format_matches_nobody_and_a_malformed_subject_is_an_error() {
        for unmatched in [
            json!({"format": "phone_number", "phone_number": "+1"}),
            json!({"format": "complex", "device": {"format": "opaque", "id": "x"}}),
            json!({"format": "complex", "user": {"format": "did", "url": "x"},
                   "session": {"format": "opaque", "id": "x"}}),
            json!({"format": "complex", "user": {"format": "email", "email": "a@b"},
                   "session": {"format": "jwt_id", "iss": "i", "jti": "j"}}),
        ] {
            assert_eq!(parse(unmatched), Ok(None));
        }
        for malformed in [
            json!("a@b"),
            json!({}),
            json!({"format": 5}),
            json!({"format": "opaque"}),
            json!({"format": "opaque", "id": ""}),
            json!({"format": "opaque", "id": 7}),
            json!({"format": "account", "uri": "https://a@b"}),
            json!({"format": "iss_sub", "iss": "i"}),
            json!({"format": "complex", "user": "a@b"}),
            json!({"format": "complex", "session": {"format": "opaque"}}),
        ] {
            assert_eq!(parse(malformed), Err(MALFORMED));
        }
    }
}
