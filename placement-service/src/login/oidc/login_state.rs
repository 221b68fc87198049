//! The state of a pending login, sealed in a cookie from the start of the login until the provider's callback. Decides
//! which cookies are accepted. No replica stores it, so any replica can complete the login. Must not know HTTP.

use super::OidcError;
use crate::core::aead::SealingKeys;
use crate::core::return_to::ReturnTo;
use serde::{Deserialize, Serialize};

/// Maximum duration of a login, in milliseconds.
pub const LOGIN_STATE_TTL_MS: u64 = 600_000;
/// Maximum length of a cookie value; browsers keep about 4096 bytes including name and attributes.
const MAX_BYTES: usize = 3_900;
const PURPOSE: &str = "login attempt";

/// The values that the callback must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginState {
    pub provider: String,
    pub state: String,
    pub nonce: String,
    /// Code verifier of PKCE (RFC 7636).
    pub verifier: String,
    /// The `redirect_uri` of the authorization request.
    pub redirect_uri: String,
    /// A valid [`ReturnTo`], or none.
    pub return_to: Option<String>,
    pub began_at_ms: u64,
}

impl LoginState {
    /// Seals the state into a cookie value. Drops `return_to` if it makes the value too long.
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

    /// Opens the cookie of a login at this provider that has not expired.
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
        let is_valid = now_ms < attempt.began_at_ms.saturating_add(LOGIN_STATE_TTL_MS);
        (is_valid && attempt.provider == provider)
            .then_some(attempt)
            .ok_or(OidcError::StateInvalid)
    }

    /// Where the browser goes after the login.
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

    fn login_state(return_to: &str) -> LoginState {
        LoginState {
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
    fn it_opens_only_before_its_expiry_for_its_provider_and_key() {
        let key_a = key("a");
        let cookie = login_state("/app/x").seal(&key_a).unwrap();
        let open_state =
            |key: &SealingKeys, provider, now_ms| LoginState::open(key, &cookie, provider, now_ms);
        assert_eq!(
            open_state(&key_a, "idp", 600_999).unwrap(),
            login_state("/app/x")
        );
        for (key, provider, now_ms) in [
            (&key_a, "idp", 601_000),
            (&key_a, "other", 1_000),
            (&key("b"), "idp", 1_000),
        ] {
            assert_eq!(
                open_state(key, provider, now_ms),
                Err(OidcError::StateInvalid)
            );
        }
        for malformed in ["", "x", &"A".repeat(5_000)] {
            let state = LoginState::open(&key_a, malformed, "idp", 1_000);
            assert_eq!(state, Err(OidcError::StateInvalid));
        }
        assert!(!cookie.contains("app.example"));
    }

    #[test]
    fn a_long_return_to_is_dropped_and_the_login_works() {
        let long_path = format!("/{}", "\"".repeat(2_000));
        let cookie = login_state(&long_path).seal(&key("a")).unwrap();
        assert!(cookie.len() <= MAX_BYTES);
        let state = LoginState::open(&key("a"), &cookie, "idp", 1_000).unwrap();
        assert_eq!(state.return_to(), None);
        let fits = format!("/{}", "a".repeat(2_000));
        let cookie = login_state(&fits).seal(&key("a")).unwrap();
        let state = LoginState::open(&key("a"), &cookie, "idp", 1_000).unwrap();
        assert_eq!(state.return_to().unwrap().as_str(), fits);
    }
}
