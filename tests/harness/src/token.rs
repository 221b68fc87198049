//! The demo's JWTs: made as the placement service makes them (for the stand-in), verified as an
//! engine verifies them (for the app). The secret is known to everybody.

use crate::Result;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use serde::{Deserialize, Serialize};

/// The HS256 secret of the demo.
pub const SECRET: &str = "berth-demo-secret-known-to-everybody";

/// The claims that the tests look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The account.
    pub sub: String,
    /// Its roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Who made it.
    pub iss: String,
    /// For whom.
    pub aud: String,
    /// Unix seconds.
    pub exp: u64,
}

impl Claims {
    /// A token for `account` that holds for a minute.
    #[must_use]
    pub fn of(account: &str) -> Self {
        Self {
            sub: account.into(),
            roles: vec!["user".into()],
            iss: "berth".into(),
            aud: "engine".into(),
            exp: get_current_timestamp() + 60,
        }
    }

    /// Signs them with the demo secret.
    ///
    /// # Errors
    /// Never, with HS256.
    pub fn sign(&self) -> Result<String> {
        self.sign_with(SECRET)
    }

    /// Signs them with another secret.
    ///
    /// # Errors
    /// Never, with HS256.
    pub fn sign_with(&self, secret: &str) -> Result<String> {
        Ok(encode(
            &Header::new(Algorithm::HS256),
            self,
            &EncodingKey::from_secret(secret.as_bytes()),
        )?)
    }
}

/// Verifies signature, issuer, audience and expiry.
///
/// # Errors
/// When any of them is wrong.
pub fn verify(token: &str) -> Result<Claims> {
    let mut rules = Validation::new(Algorithm::HS256);
    rules.set_issuer(&["berth"]);
    rules.set_audience(&["engine"]);
    Ok(decode(token, &DecodingKey::from_secret(SECRET.as_bytes()), &rules)?.claims)
}
