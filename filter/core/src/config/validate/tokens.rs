//! The section `tokens`: the keys that verify tokens, and the claims that tokens must have. Quotes no secret.

use super::{Errors, is_path};
use crate::auth::jwt::{Key, Keys};
use crate::config::{Jwks, schema};

/// Maximum `tokens.leeway`.
const MAX_LEEWAY_S: u32 = 300;

pub(super) fn validate(
    raw: schema::Tokens,
    env: &dyn Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> (Keys, Option<Jwks>) {
    errors.require(!raw.issuer.is_empty(), "tokens.issuer", "is empty");
    errors.require(!raw.audience.is_empty(), "tokens.audience", "is empty");
    let leeway_ms = raw.leeway.as_ms();
    let leeway_s = u32::try_from(leeway_ms / 1000).unwrap_or(u32::MAX);
    errors.require(
        leeway_ms.is_multiple_of(1000) && leeway_s <= MAX_LEEWAY_S,
        "tokens.leeway",
        "must be whole seconds, at most 5m",
    );
    errors.require(
        !raw.keys.is_empty() || raw.jwks.is_some(),
        "tokens",
        "has neither keys nor jwks: no token could be verified",
    );
    let mut keys = Vec::new();
    for (i, raw) in raw.keys.into_iter().enumerate() {
        match key(raw, env) {
            Ok(key) => keys.push(key),
            Err(error) => errors.add(&format!("tokens.keys[{i}]"), &error),
        }
    }
    let jwks = raw.jwks.map(|jwks| {
        let refresh_ms = jwks.refresh.as_ms();
        errors.require(is_path(&jwks.path), "tokens.jwks.path", "must be a path");
        errors.require(
            refresh_ms >= 1000,
            "tokens.jwks.refresh",
            "must be at least 1s",
        );
        Jwks {
            path: jwks.path,
            refresh_ms,
        }
    });
    let keys = Keys::new(keys, &raw.issuer, &raw.audience, leeway_s);
    (keys, jwks)
}

fn key(raw: schema::Key, env: &dyn Fn(&str) -> Option<String>) -> Result<Key, String> {
    let secret = match (raw.secret, raw.secret_env, raw.jwk) {
        (Some(secret), None, None) => secret.0,
        (None, Some(name), None) => {
            env(&name).ok_or_else(|| format!("the environment variable {name} is not set"))?
        }
        (None, None, Some(_)) if raw.kid.is_some() || raw.alg.is_some() => {
            return Err("a jwk contains kid and alg itself".to_owned());
        }
        (None, None, Some(jwk)) => return Key::from_jwk(jwk).map_err(str::to_owned),
        _ => return Err("needs exactly one of secret, secret_env and jwk".to_owned()),
    };
    match raw.alg.as_deref() {
        Some("HS256") => Key::from_secret(raw.kid, secret.as_bytes()).map_err(str::to_owned),
        Some(_) => Err("a secret works with the alg HS256 only; others need a jwk".to_owned()),
        None => Err("alg is missing".to_owned()),
    }
}
