//! The key of an account in sessions, locks and logs: a local account's name, or `provider:name` for an account of an
//! OpenID provider, so that equal names of different origin are different accounts. Knows no store.

use std::fmt;

/// Separates a provider from the name. Neither a local name nor a provider's name contains it.
const SEPARATOR: char = ':';

/// The origin and the name of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKey<'a> {
    Local(&'a str),
    Provider { provider: &'a str, name: &'a str },
}

impl<'a> AccountKey<'a> {
    /// The key of a name in the namespace of a provider; without one, of a local account.
    #[must_use]
    pub const fn new(provider: Option<&'a str>, name: &'a str) -> Self {
        match provider {
            Some(provider) => Self::Provider { provider, name },
            None => Self::Local(name),
        }
    }

    /// Splits a key at its first separator: the name of a provider's account may contain further ones.
    #[must_use]
    pub fn parse(key: &'a str) -> Self {
        match key.split_once(SEPARATOR) {
            Some((provider, name)) => Self::Provider { provider, name },
            None => Self::Local(key),
        }
    }

    /// The name within a known namespace. The keys of another login service's sessions have no namespace, and may
    /// contain the separator nevertheless.
    #[must_use]
    pub fn name_within(provider: Option<&str>, key: &'a str) -> &'a str {
        let stripped = provider.and_then(|p| key.strip_prefix(p)?.strip_prefix(SEPARATOR));
        stripped.unwrap_or(key)
    }
}

impl fmt::Display for AccountKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) => f.write_str(name),
            Self::Provider { provider, name } => write!(f, "{provider}{SEPARATOR}{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_names_of_different_origin_are_different_accounts() {
        let local = AccountKey::new(None, "demo").to_string();
        let company = AccountKey::new(Some("company"), "demo").to_string();
        assert_eq!((local.as_str(), company.as_str()), ("demo", "company:demo"));
        let nested = AccountKey::new(Some("company"), "a:b|c").to_string();
        let expected = AccountKey::Provider {
            provider: "company",
            name: "a:b|c",
        };
        assert_eq!(AccountKey::parse(&nested), expected);
    }

    #[test]
    fn a_key_without_a_namespace_is_the_name_as_a_whole() {
        assert_eq!(AccountKey::name_within(None, "tenant:ada"), "tenant:ada");
        assert_eq!(AccountKey::name_within(Some("idp"), "idp:ada"), "ada");
        assert_eq!(AccountKey::name_within(Some("idp"), "idp2:ada"), "idp2:ada");
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(provider in "[a-zA-Z0-9._-]{1,20}", name in "\\PC{1,40}") {
            let key = AccountKey::new(Some(&provider), &name);
            let text = key.to_string();
            prop_assert_eq!(AccountKey::parse(&text), key);
            prop_assert_eq!(AccountKey::name_within(Some(&provider), &text), name.as_str());
        }
    }
}
