//! The template for `sub` of the engines' token: text with the marks `{name}`, `{account}` and `{provider}`. A template
//! that would give all accounts the same subject is refused.

use crate::core::account_key::AccountKey;
use crate::core::names::check_provider_name;
use serde::Deserialize;

/// The marks, as an operator writes them.
const MARKS: &str = "{name}, {account} and {provider}";

/// How an account is named to the engines.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SubjectTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name without its namespace: the value of the provider's claim.
    Name,
    /// The key: a local account's name, or `provider:name`.
    Account,
    /// The provider's name; empty for a local account.
    Provider,
}

impl SubjectTemplate {
    /// The subject of an account, given by its key and the provider that it belongs to.
    #[must_use]
    pub fn subject(&self, provider: Option<&str>, account: &str) -> String {
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Name => AccountKey::name_within(provider, account),
            Part::Account => account,
            Part::Provider => provider.unwrap_or_default(),
        });
        parts.collect()
    }
}

impl TryFrom<String> for SubjectTemplate {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_provider_name(&text).map_err(|fault| fault.to_string())?;
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, marked)) = rest.split_once('{') {
            let (mark, after) = marked
                .split_once('}')
                .ok_or_else(|| format!("'{{' needs a '}}'; known marks are {MARKS}"))?;
            push_text(&mut parts, before)?;
            parts.push(match mark {
                "name" => Part::Name,
                "account" => Part::Account,
                "provider" => Part::Provider,
                _ => return Err(format!("unknown mark {{{mark}}}; known are {MARKS}")),
            });
            rest = after;
        }
        push_text(&mut parts, rest)?;
        if !parts.contains(&Part::Name) && !parts.contains(&Part::Account) {
            return Err(
                "needs {name} or {account}: all accounts would have the same subject".to_owned(),
            );
        }
        Ok(Self(parts))
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), String> {
    if text.contains('}') {
        return Err(format!("'}}' needs a '{{'; known marks are {MARKS}"));
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_text;

    fn subject(template: &str, provider: Option<&str>, account: &str) -> String {
        let template = SubjectTemplate::try_from(template.to_owned()).unwrap();
        template.subject(provider, account)
    }

    #[test]
    fn marks_are_replaced_and_values_are_not_templates() {
        let idp = Some("idp");
        assert_eq!(subject("{name}", idp, "idp:auth0|5"), "auth0|5");
        assert_eq!(subject("{name}", None, "demo"), "demo");
        assert_eq!(subject("{account}", idp, "idp:auth0|5"), "idp:auth0|5");
        assert_eq!(
            subject("u/{provider}/{name}", idp, "idp:{name}"),
            "u/idp/{name}"
        );
        assert_eq!(subject("{provider}/{name}", None, "demo"), "/demo");
    }

    #[test]
    fn invalid_templates_are_faults_that_name_the_setting() {
        for (template, expected) in [
            ("''", "is empty"),
            (
                "'{provider}'",
                "needs {name} or {account}: all accounts would have the same subject",
            ),
            (
                "'{user}'",
                "unknown mark {user}; known are {name}, {account} and {provider}",
            ),
            (
                "'{name'",
                "'{' needs a '}'; known marks are {name}, {account} and {provider}",
            ),
            (
                "'{name}}'",
                "'}' needs a '{'; known marks are {name}, {account} and {provider}",
            ),
            ("\"{name}\\n\"", "contains '\\u{a}', which is not printable"),
        ] {
            let fault = from_text(&format!("tokens: {{ subject: {template} }}")).unwrap_err();
            assert_eq!(fault.to_string(), format!("tokens.subject: {expected}"));
        }
    }
}
