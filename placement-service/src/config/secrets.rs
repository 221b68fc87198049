//! Fetches the secrets that the configuration only points at, and makes the signing key of one.

use super::fault::{Fault, Faults};
use super::{Config, Key, Role};
use crate::keys::SigningKey;
use crate::secret::Secret;

/// The shortest secret that gateways and clients prove themselves with, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// Every secret of a running service.
pub struct Secrets {
    pub signing_key: SigningKey,
    /// What a gateway proves itself with.
    pub gateway: Option<Secret>,
    pub clients: Vec<ClientSecret>,
}

/// What an `api.clients` entry proves itself with.
#[derive(Debug)]
pub struct ClientSecret {
    pub name: String,
    pub role: Role,
    pub secret: Secret,
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
        let secret = read_proof("gateways.secret", key, env);
        secret.map_err(|fault| faults.push(fault)).ok()
    });
    let clients = clients(config, env, gateway.as_ref(), &mut faults);
    match signing_key {
        Some(signing_key) if faults.is_empty() => Ok(Secrets {
            signing_key,
            gateway,
            clients,
        }),
        _ => Err(Faults(faults)),
    }
}

fn clients(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    gateway: Option<&Secret>,
    faults: &mut Vec<Fault>,
) -> Vec<ClientSecret> {
    let mut clients: Vec<ClientSecret> = Vec::new();
    for (index, client) in config.api.clients.iter().enumerate() {
        let path = format!("api.clients[{index}].secret");
        match read_proof(&path, &client.secret, env) {
            Ok(secret) => {
                let mut taken = clients.iter().map(|c| &c.secret).chain(gateway);
                if taken.any(|other| *other == secret) {
                    faults.push(Fault::new(path, "must be unlike every other secret"));
                }
                clients.push(ClientSecret {
                    name: client.name.clone(),
                    role: client.role,
                    secret,
                });
            }
            Err(fault) => faults.push(fault),
        }
    }
    clients
}

/// A secret that fits into an `Authorization` header.
fn read_proof(
    path: &str,
    key: &Key,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
    let secret = read(path, key, env)?;
    let fits = secret.reveal().len() >= MIN_SECRET_BYTES
        && secret.reveal().bytes().all(|b| b.is_ascii_graphic());
    let message = "must have 16 or more visible ASCII characters";
    fits.then_some(secret)
        .ok_or_else(|| Fault::new(path, message))
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
