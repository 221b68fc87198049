//! The JWT for the engines, and where keys come from.

use super::checks::{DAY, Faults, SECOND};
use crate::core::secret::Secret;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// How the JWT for the engines is made (S26).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    pub algorithm: Algorithm,
    pub key: Key,
    /// Names the key in the JWT header; a thumbprint of the key when absent.
    pub kid: Option<String>,
    /// Keys that sign no more but may have signed tokens that are still good.
    pub previous: Vec<TokenKey>,
    /// Keys that are going to sign, known in advance to those who verify.
    pub next: Vec<TokenKey>,
    pub issuer: String,
    pub audience: String,
    #[serde(with = "humantime_serde")]
    pub lifetime: Duration,
}

/// A key besides the one that signs: its public half is published too.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    pub algorithm: Algorithm,
    pub key: Key,
    /// As `Tokens::kid`.
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

/// Where a key comes from. HS256: the shared secret's text. Others: a PKCS#8 PEM private key.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// In the configuration itself: for demonstrations only.
    Inline(Secret),
    File(PathBuf),
    Env(String),
}

/// How a gateway (Envoy with the filter) proves itself on `/v1`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateways {
    /// `Authorization: Bearer <secret>`; without one, only the listen address protects `/v1`.
    pub secret: Option<Key>,
}

pub(super) fn check(tokens: &Tokens, faults: &mut Faults) {
    faults.within("tokens.lifetime", tokens.lifetime, 10 * SECOND, DAY);
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
