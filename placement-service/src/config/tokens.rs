//! Settings of the JWT for the engines, of the gateways' secret, and the sources of keys. Holds no key itself,
//! except inline ones.

use super::Config;
use super::fault_collector::{DAY, FaultCollector, SECOND};
use super::subject_template::SubjectTemplate;
use crate::core::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// How the JWT for the engines is signed, and its claims.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    pub algorithm: Algorithm,
    pub key: SecretSource,
    /// The key id in the JWT header; when absent, the thumbprint of the key (RFC 7638).
    pub kid: Option<String>,
    /// Keys that no longer sign, but whose tokens may still be valid.
    pub previous: Vec<TokenKey>,
    /// Keys that will sign later, published in advance to those who verify.
    pub next: Vec<TokenKey>,
    pub issuer: String,
    pub audience: String,
    /// The `sub` of a session's token.
    pub subject: SubjectTemplate,
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
}

/// A key besides the signing key; its public part is published too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    pub algorithm: Algorithm,
    pub key: SecretSource,
    /// See [`Tokens::kid`].
    #[serde(default)]
    pub kid: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Algorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// The source of a key or secret. HS256: the text of the shared secret. Other algorithms: a private key in
/// PKCS#8 PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Value")]
pub enum SecretSource {
    /// The secret itself: for demonstrations only.
    Inline(Secret),
    File(PathBuf),
    Env(String),
}

impl TryFrom<Value> for SecretSource {
    type Error = &'static str;

    /// Reads `{env: NAME}`, `{file: PATH}` or `{inline: TEXT}`. The error is a constant, because anything else in the
    /// place of these may be the secret itself.
    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let entries = value.as_object().into_iter().flatten();
        let mut entries = entries.map(|(name, value)| (name.as_str(), value.as_str()));
        match (entries.next(), entries.next()) {
            (Some(("inline", Some(text))), None) => Ok(Self::Inline(Secret::new(text.to_owned()))),
            (Some(("file", Some(path))), None) => Ok(Self::File(path.into())),
            (Some(("env", Some(name))), None) => Ok(Self::Env(name.to_owned())),
            _ => Err("expected {env: NAME}, {file: PATH} or {inline: TEXT}"),
        }
    }
}

/// The secret of `config/demo.yaml`.
pub const DEMO_SECRET: &str = "berth-demo-secret-known-to-everybody";

impl SecretSource {
    /// Whether it is the public secret of the demonstration.
    #[must_use]
    pub fn is_demo_secret(&self) -> bool {
        matches!(self, Self::Inline(secret) if secret.reveal() == DEMO_SECRET)
    }
}

/// How a gateway (Envoy with the filter) authenticates on `/v1`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateways {
    /// Sent as `Authorization: Bearer <secret>`. Without it, only the listen address protects `/v1`.
    pub secret: Option<SecretSource>,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let tokens = &config.tokens;
    faults.check_range("tokens.lifetime", tokens.lifetime, 10 * SECOND, DAY);
    for (path, text) in [
        ("tokens.issuer", &tokens.issuer),
        ("tokens.audience", &tokens.audience),
    ] {
        if text.is_empty() {
            faults.add(path, "must not be empty");
        }
    }
    let mut kid = |path: String, kid: Option<&str>| {
        if kid == Some("") {
            faults.add(
                path,
                "must not be empty; null names the key by its thumbprint",
            );
        }
    };
    kid("tokens.kid".to_owned(), tokens.kid.as_deref());
    for (list, keys) in [("previous", &tokens.previous), ("next", &tokens.next)] {
        for (index, key) in keys.iter().enumerate() {
            kid(format!("tokens.{list}[{index}].kid"), key.kid.as_deref());
        }
    }
}
