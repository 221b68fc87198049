//! Fetches the secrets that the configuration only points at, and makes the signing key of one.

use super::fault::{Fault, Faults};
use super::{Config, Key};
use crate::keys::SigningKey;
use crate::secret::Secret;

/// The shortest shared secret for gateways, in bytes.
const MIN_GATEWAY_BYTES: usize = 16;

/// Every secret of a running service.
pub struct Secrets {
    pub signing_key: SigningKey,
    /// What a gateway proves itself with.
    pub gateway: Option<Secret>,
}

/// Reads every secret; `env` looks up an environment variable. All faults at once.
pub fn fetch(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Result<Secrets, Faults> {
    let mut faults = Vec::new();
    let tokens = &config.tokens;
    let signing_key = read("tokens.key", &tokens.key, env)
        .and_then(|key| {
            SigningKey::new(tokens.algorithm, &key, tokens.kid.as_deref())
                .map_err(|e| Fault::new("tokens.key", e.to_string()))
        })
        .map_err(|fault| faults.push(fault))
        .ok();
    let gateway = config.gateways.secret.as_ref().and_then(|key| {
        let secret = read("gateways.secret", key, env).and_then(|secret| {
            let fits = secret.reveal().len() >= MIN_GATEWAY_BYTES
                && secret.reveal().bytes().all(|b| b.is_ascii_graphic());
            let message = "must have 16 or more visible ASCII characters";
            fits.then_some(secret)
                .ok_or_else(|| Fault::new("gateways.secret", message))
        });
        secret.map_err(|fault| faults.push(fault)).ok()
    });
    match signing_key {
        Some(signing_key) if faults.is_empty() => Ok(Secrets {
            signing_key,
            gateway,
        }),
        _ => Err(Faults(faults)),
    }
}

fn read(path: &str, key: &Key, env: &dyn Fn(&str) -> Option<String>) -> Result<Secret, Fault> {
    match key {
        Key::Inline(secret) => Ok(secret.clone()),
        Key::File(file) => std::fs::read_to_string(file)
            .map(|text| Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            .map_err(|e| Fault::new(path, format!("cannot read {}: {e}", file.display()))),
        Key::Env(name) => env(name)
            .map(Secret::new)
            .ok_or_else(|| Fault::new(path, format!("the environment variable {name} is not set"))),
    }
}
