//! The settings of the filter, and the keys and claims of the tokens that it accepts. Secrets are names of environment
//! variables; the public secret of the demonstration is the only one that is written.

use super::clusters::CALLS_CLUSTER;
use super::{fault, format_duration};
use crate::config::fault::Fault;
use crate::config::{Algorithm, Config, DEMO_SECRET, EdgeTokenKey, SecretSource, identity_headers};
use crate::http::paths::{JWKS_PATH, LOGIN_PATH};
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How much longer the filter waits than the service takes for a placement.
const BEYOND_DEADLINE: Duration = Duration::from_secs(2);
/// The filter's maximum for a call.
const MAX_CALL: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Serialize)]
pub struct FilterSettings {
    /// The cluster of its calls.
    pub cluster: String,
    /// Maximum time of a call.
    pub timeout: String,
    /// The variable with the gateways' secret.
    pub secret_env: Option<String>,
    pub cookie: String,
    pub login_path: &'static str,
    pub api_prefixes: Vec<String>,
    pub origins: Vec<String>,
    pub strip_headers: Vec<String>,
    pub close_timeout: String,
    pub cache_entries: u32,
    pub cache_bytes: u32,
    pub cache_ttl: String,
}

impl FilterSettings {
    pub(super) fn new(config: &Config, faults: &mut Vec<Fault>) -> Self {
        let edge = &config.edge;
        let timeout = config.placement.deadline.saturating_add(BEYOND_DEADLINE);
        if timeout > MAX_CALL {
            let message = "must be at most 28s: the filter waits for at most 30s";
            fault(faults, "placement.deadline", message);
        }
        Self {
            cluster: CALLS_CLUSTER.to_owned(),
            timeout: format_duration(timeout),
            secret_env: gateway_secret(config, faults),
            cookie: config.session.cookie.effective_name().to_owned(),
            login_path: LOGIN_PATH,
            api_prefixes: edge.api_prefixes.clone(),
            origins: edge.origins.clone(),
            strip_headers: identity_headers(config),
            close_timeout: format_duration(edge.close_timeout),
            cache_entries: edge.cache.entries,
            cache_bytes: edge.cache.bytes,
            cache_ttl: format_duration(edge.cache.ttl),
        }
    }
}

fn gateway_secret(config: &Config, faults: &mut Vec<Fault>) -> Option<String> {
    let variable = &config.edge.gateway_secret_env;
    match (&config.gateways.secret, variable) {
        (None, None) => None,
        (None, Some(_)) => {
            let message = "there is no gateways.secret";
            fault(faults, "edge.gateway_secret_env", message);
            None
        }
        (Some(_), Some(name)) | (Some(SecretSource::Env(name)), None) => Some(name.clone()),
        (Some(_), None) => {
            let message = "is needed: gateways.secret is no environment variable, and a secret is not written to a file of the edge";
            fault(faults, "edge.gateway_secret_env", message);
            None
        }
    }
}

/// Which tokens the filter accepts.
#[derive(Clone, Debug, Serialize)]
pub struct TokenRules {
    pub issuer: String,
    pub audience: String,
    pub keys: Vec<TokenKey>,
    /// The path of the service's public keys, if they are needed.
    pub jwks_path: Option<&'static str>,
}

/// One of `secret_env`, `demo_secret` and `jwk`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenKey {
    /// The variable with a shared secret (HS256).
    pub secret_env: Option<String>,
    pub kid: Option<String>,
    /// The public secret of the demonstration.
    pub demo_secret: Option<&'static str>,
    /// A public key.
    pub jwk: Option<Value>,
}

impl TokenRules {
    pub(super) fn new(
        config: &Config,
        read: &dyn Fn(&Path) -> io::Result<String>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let tokens = &config.tokens;
        let mut all = vec![(
            "tokens.key".to_owned(),
            tokens.algorithm,
            &tokens.key,
            &tokens.kid,
        )];
        for (list, keys) in [("previous", &tokens.previous), ("next", &tokens.next)] {
            all.extend(keys.iter().enumerate().map(|(index, key)| {
                let path = format!("tokens.{list}[{index}].key");
                (path, key.algorithm, &key.key, &key.kid)
            }));
        }
        let (shared, asymmetric): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, algorithm, _, _)| *algorithm == Algorithm::Hs256);
        let listed = &config.edge.token_keys;
        let keys: Vec<TokenKey> = if listed.is_empty() {
            let shared = shared.into_iter();
            shared
                .filter_map(|(path, _, key, kid)| shared_key(&path, key, kid.clone(), faults))
                .collect()
        } else {
            let listed = listed.iter().enumerate();
            listed
                .filter_map(|(index, key)| listed_key(index, key, read, faults))
                .collect()
        };
        let has_public_key = keys.iter().any(|key| key.jwk.is_some());
        Self {
            issuer: tokens.issuer.clone(),
            audience: tokens.audience.clone(),
            jwks_path: (!asymmetric.is_empty() && !has_public_key).then_some(JWKS_PATH),
            keys,
        }
    }
}

fn shared_key(
    path: &str,
    key: &SecretSource,
    kid: Option<String>,
    faults: &mut Vec<Fault>,
) -> Option<TokenKey> {
    let (secret_env, demo_secret) = match key {
        SecretSource::Env(name) => (Some(name.clone()), None),
        key if key.is_demo_secret() => (None, Some(DEMO_SECRET)),
        SecretSource::Inline(_) | SecretSource::File(_) => {
            let message = format!(
                "is needed: {path} is no environment variable, and a secret is not written to a file of the edge"
            );
            fault(faults, "edge.token_keys", message);
            return None;
        }
    };
    Some(TokenKey {
        secret_env,
        kid,
        demo_secret,
        jwk: None,
    })
}

fn listed_key(
    index: usize,
    key: &EdgeTokenKey,
    read: &dyn Fn(&Path) -> io::Result<String>,
    faults: &mut Vec<Fault>,
) -> Option<TokenKey> {
    let Some(file) = &key.jwk_file else {
        return Some(TokenKey {
            secret_env: key.secret_env.clone(),
            kid: key.kid.clone(),
            ..TokenKey::default()
        });
    };
    let path = format!("edge.token_keys[{index}].jwk_file");
    let jwk = read(file)
        .map_err(|error| format!("cannot read {}: {error}", file.display()))
        .and_then(|text| parse_public_jwk(&text));
    match jwk {
        Ok(jwk) => Some(TokenKey {
            jwk: Some(jwk),
            ..TokenKey::default()
        }),
        Err(message) => {
            fault(faults, path, message);
            None
        }
    }
}

/// A JWK (RFC 7517) without private or symmetric parts.
fn parse_public_jwk(text: &str) -> Result<Value, String> {
    let jwk: Value = serde_json::from_str(text).map_err(|_| "is no JSON".to_owned())?;
    let public = matches!(
        jwk.get("kty").and_then(Value::as_str),
        Some("RSA" | "EC" | "OKP")
    );
    // `d` is the private part of each of these kinds (RFC 7518 section 6).
    if !public || jwk.get("d").is_some() || jwk.get("k").is_some() {
        return Err("is no public key: a JWK of kty RSA, EC or OKP without d".to_owned());
    }
    Ok(jwk)
}
