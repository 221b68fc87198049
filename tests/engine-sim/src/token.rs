//! Verifies tokens: HS256, `exp` and `nbf`, as an engine with `ValidateJsonWebTokens=2` does.
//!
//! The user is the claim `sub`. The audience is not checked, because the engine has no setting for it.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, errors::ErrorKind};
use serde::Deserialize;

/// Only the prefix `SESSION_ERROR_JWT_` of these error states is documented. The rest of each name is invented here.
pub(crate) const MISSING: &str = "SESSION_ERROR_JWT_TOKEN_MISSING";
pub(crate) const INVALID: &str = "SESSION_ERROR_JWT_TOKEN_INVALID";
pub(crate) const EXPIRED: &str = "SESSION_ERROR_JWT_TOKEN_EXPIRED";
pub(crate) const NOT_YET: &str = "SESSION_ERROR_JWT_TOKEN_NOT_YET_VALID";

/// The user of an engine that checks no token.
const DEFAULT_USER: &str = "anybody";

#[derive(Deserialize)]
struct Claims {
    sub: String,
}

/// Checks tokens.
pub(crate) struct TokenVerifier(Option<(DecodingKey, Validation)>);

impl TokenVerifier {
    /// `None`: every request is accepted and belongs to the same user.
    pub(crate) fn new(secret: Option<&str>) -> Self {
        Self(secret.map(|secret| {
            let mut validation = Validation::new(Algorithm::HS256);
            validation.leeway = 5;
            validation.validate_nbf = true;
            validation.validate_aud = false;
            (DecodingKey::from_secret(secret.as_bytes()), validation)
        }))
    }

    /// The user that an `Authorization` header names, or the error state of the session.
    pub(crate) fn verify(&self, authorization: Option<&str>) -> Result<String, &'static str> {
        let Some((key, validation)) = &self.0 else {
            return Ok(DEFAULT_USER.to_owned());
        };
        let token = authorization.ok_or(MISSING)?;
        let token = token.strip_prefix("Bearer ").ok_or(INVALID)?;
        match decode::<Claims>(token, key, validation) {
            Ok(token) => Ok(token.claims.sub),
            Err(error) => Err(match error.kind() {
                ErrorKind::ExpiredSignature => EXPIRED,
                ErrorKind::ImmatureSignature => NOT_YET,
                _ => INVALID,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::unix_now;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    fn bearer(secret: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = encode(&Header::default(), claims, &key).unwrap();
        format!("Bearer {token}")
    }

    fn check(authorization: &str) -> Result<String, &'static str> {
        TokenVerifier::new(Some("s")).verify(Some(authorization))
    }

    #[test]
    fn the_user_is_the_subject() {
        let claims = json!({"sub": "ann", "exp": unix_now() + 60, "aud": "whatever"});
        assert_eq!(check(&bearer("s", &claims)), Ok("ann".to_owned()));
    }

    #[test]
    fn each_fault_has_its_error_state() {
        let now = unix_now();
        let valid = json!({"sub": "ann", "exp": now + 60});
        let expired = json!({"sub": "ann", "exp": now - 60});
        let not_yet_valid = json!({"sub": "ann", "exp": now + 600, "nbf": now + 60});
        assert_eq!(check(&bearer("other", &valid)), Err(INVALID));
        assert_eq!(check("Basic YTpi"), Err(INVALID));
        assert_eq!(check(&bearer("s", &expired)), Err(EXPIRED));
        assert_eq!(check(&bearer("s", &not_yet_valid)), Err(NOT_YET));
        assert_eq!(check(&bearer("s", &json!({"sub": "ann"}))), Err(INVALID));
        assert_eq!(TokenVerifier::new(Some("s")).verify(None), Err(MISSING));
    }

    #[test]
    fn without_a_secret_nothing_is_checked() {
        assert_eq!(
            TokenVerifier::new(None).verify(None),
            Ok(DEFAULT_USER.to_owned())
        );
    }
}
