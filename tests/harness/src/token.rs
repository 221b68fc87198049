//! JWTs of the demonstration. They are signed as the placement service signs them (for the fake service) and verified
//! as an engine verifies them (for the application). The secret is public.

use crate::Result;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, get_current_timestamp,
};
use serde::{Deserialize, Serialize};

/// The demonstration's HS256 secret.
pub const SECRET: &str = "berth-demo-secret-known-to-everybody";

/// The claims that tests read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The account.
    pub sub: String,
    /// Its roles.
    #[serde(default)]
    pub roles: Vec<String>,
    /// The issuer.
    pub iss: String,
    /// The audience.
    pub aud: String,
    /// Unix seconds.
    pub exp: u64,
}

impl Claims {
    /// Claims for `account` that expire after a minute.
    #[must_use]
    pub fn for_account(account: &str) -> Self {
        Self {
            sub: account.into(),
            roles: vec!["user".into()],
            iss: "berth".into(),
            aud: "engine".into(),
            exp: get_current_timestamp() + 60,
        }
    }

    /// Signs them with the demonstration's secret.
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
