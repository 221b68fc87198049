//! A login that is under way: what the browser carries, sealed, from the start at this service to the callback
//! from the provider. No replica remembers it.

use super::OidcError;
use crate::core::aead::SealingKeys;
use crate::core::return_to::ReturnTo;
use serde::{Deserialize, Serialize};

/// How long a login may take, in milliseconds.
pub const ATTEMPT_MS: u64 = 600_000;
/// The longest cookie value that is looked at; browsers keep about 4096 bytes with name and attributes.
const MAX_BYTES: usize = 3_900;
const PURPOSE: &str = "login attempt";

/// What must come back unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub provider: String,
    pub state: String,
    pub nonce: String,
    /// Of PKCE (RFC 7636).
    pub verifier: String,
    /// Where the provider was told to send the browser.
    pub redirect_uri: String,
    /// A valid [`ReturnTo`], or none.
    pub return_to: Option<String>,
    pub began_at_ms: u64,
}

impl Attempt {
    /// The value of the cookie. A `return_to` that makes it too long is left out.
    #[must_use]
    pub fn seal(&self, key: &SealingKeys) -> Option<String> {
        let seal = |attempt: &Self| key.seal(PURPOSE, &serde_json::to_vec(attempt).ok()?);
        let sealed = seal(self)?;
        if sealed.len() <= MAX_BYTES {
            return Some(sealed);
        }
        seal(&Self {
            return_to: None,
            ..self.clone()
        })
    }

    /// Reads the cookie of a login at this provider that is not over yet.
    pub fn open(
        key: &SealingKeys,
        cookie: &str,
        provider: &str,
        now_ms: u64,
    ) -> Result<Self, OidcError> {
        if cookie.len() > MAX_BYTES {
            return Err(OidcError::StateInvalid);
        }
        let text = key.open(PURPOSE, cookie).ok_or(OidcError::StateInvalid)?;
        let attempt: Self = serde_json::from_slice(&text).map_err(|_| OidcError::StateInvalid)?;
        let fresh = now_ms < attempt.began_at_ms.saturating_add(ATTEMPT_MS);
        (fresh && attempt.provider == provider)
            .then_some(attempt)
            .ok_or(OidcError::StateInvalid)
    }

    /// Where the login leads.
    #[must_use]
    pub fn return_to(&self) -> Option<ReturnTo> {
        self.return_to.as_deref().and_then(ReturnTo::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::secret::Secret;

    fn key(text: &str) -> SealingKeys {
        SealingKeys::derive(&[Secret::new(text.to_owned())]).unwrap()
    }

    fn attempt(return_to: &str) -> Attempt {
        Attempt {
            provider: "idp".to_owned(),
            state: "s".repeat(22),
            nonce: "n".repeat(22),
            verifier: "v".repeat(43),
            redirect_uri: "https://app.example/login/oidc/idp/callback".to_owned(),
            return_to: Some(return_to.to_owned()),
            began_at_ms: 1_000,
        }
    }

    #[test]
    fn it_comes_back_whole_in_time_and_to_its_provider_only() {
        let key_a = key("a");
        let cookie = attempt("/app/x").seal(&key_a).unwrap();
        let open =
            |key: &SealingKeys, provider, now_ms| Attempt::open(key, &cookie, provider, now_ms);
        assert_eq!(open(&key_a, "idp", 600_999).unwrap(), attempt("/app/x"));
        for (key, provider, now_ms) in [
            (&key_a, "idp", 601_000),
            (&key_a, "other", 1_000),
            (&key("b"), "idp", 1_000),
        ] {
            assert_eq!(open(key, provider, now_ms), Err(OidcError::StateInvalid));
        }
        for nonsense in ["", "x", &"A".repeat(5_000)] {
            let read = Attempt::open(&key_a, nonsense, "idp", 1_000);
            assert_eq!(read, Err(OidcError::StateInvalid));
        }
        assert!(!cookie.contains("app.example"));
    }

    #[test]
    fn a_long_return_to_is_left_out_rather_than_the_login() {
        let long = format!("/{}", "\"".repeat(2_000));
        let cookie = attempt(&long).seal(&key("a")).unwrap();
        assert!(cookie.len() <= MAX_BYTES);
        let read = Attempt::open(&key("a"), &cookie, "idp", 1_000).unwrap();
        assert_eq!(read.return_to(), None);
        let fits = format!("/{}", "a".repeat(2_000));
        let cookie = attempt(&fits).seal(&key("a")).unwrap();
        let read = Attempt::open(&key("a"), &cookie, "idp", 1_000).unwrap();
        assert_eq!(read.return_to().unwrap().as_str(), fits);
    }
}
