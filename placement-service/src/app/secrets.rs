//! Reads the secrets that the configuration refers to, and builds the signing and sealing keys from them. Faults are
//! reported all at once, and never contain a secret.

mod oidc;
mod store;
mod tls;

pub use store::{StoreSecrets, fetch_store};

use crate::config::fault::{Fault, Faults};
use crate::config::{Config, Jwks, SecretSource, WebhookFormat};
use crate::core::aead::SealingKeys;
use crate::core::secret::Secret;
use crate::core::tls::ServerFiles;
use crate::engines::drivers::transport::EngineTransport;
use crate::events::public_keys::PublicKeys;
use crate::events::webhooks::signature;
use crate::http::ClientSecret;
use crate::sessions::keys::SigningKey;
use berth_store::redis_jwt::JwtKey;

/// Minimum length of the shared secrets of gateways and clients, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// Every secret of a running service.
pub struct Secrets {
    pub signing_key: SigningKey,
    /// The keys of `tokens.next`, then those of `tokens.previous`: published for rotation, but they sign nothing.
    pub published_keys: Vec<SigningKey>,
    /// The shared secret of the gateways.
    pub gateway: Option<Secret>,
    pub clients: Vec<ClientSecret>,
    /// The files of `tls`.
    pub tls: Option<ServerFiles>,
    /// One entry per pool, in the same order.
    pub engine_transports: Vec<EngineTransport>,
    /// One entry per entry of `webhooks`, in the same order.
    pub webhooks: Vec<Option<Secret>>,
    /// One entry per entry of `security_events.transmitters`, in the same order; `None` if the keys are at a URL.
    pub transmitters: Vec<Option<PublicKeys>>,
    pub store: StoreSecrets,
    /// The URL of the ledger, which may contain a password.
    pub ledger: Option<Secret>,
    /// Verify the JWTs of clients of `compat.session_service`, in addition to the service's own keys.
    pub session_service: Vec<JwtKey>,
    /// One entry per OpenID provider, in the same order; `None` for a public client.
    pub oidc: Vec<Option<Secret>>,
    /// Encrypt data that leaves the service and comes back, such as the state of a login.
    pub sealing: SealingKeys,
}

/// Reads every secret; `env` reads an environment variable. Returns all faults at once.
pub fn fetch(config: &Config, env: &dyn Fn(&str) -> Option<String>) -> Result<Secrets, Faults> {
    let mut faults = Vec::new();
    let mut keys = read_token_keys(config, env, &mut faults).into_iter();
    let signing_key = keys.next();
    let gateway = config.gateways.secret.as_ref().and_then(|key| {
        let secret = read_shared_secret("gateways.secret", key, env);
        secret.map_err(|fault| faults.push(fault)).ok()
    });
    let store = fetch_store(&config.store, env)
        .map_err(|Faults(more)| faults.extend(more))
        .map(|store| StoreSecrets {
            seed: read_secret("tokens.key", &config.tokens.key, env).ok(),
            ..store
        })
        .ok();
    let ledger = store::read_ledger_url(&config.placement.ledger, env)
        .map_err(|fault| faults.push(fault))
        .ok()
        .flatten();
    let clients = read_clients(config, env, gateway.as_ref(), &mut faults);
    let tls = tls::read_server_files(config, &mut faults);
    let engine_transports = tls::read_engine_transports(config, &mut faults);
    let webhooks = config.webhooks.iter().enumerate().map(|(index, hook)| {
        let path = format!("webhooks[{index}].secret");
        let secret = hook
            .secret
            .as_ref()
            .map(|key| read_webhook_secret(&path, hook.format, key, env));
        secret.and_then(|secret| secret.map_err(|fault| faults.push(fault)).ok())
    });
    let webhooks = webhooks.collect();
    let transmitters = read_transmitter_keys(config, &mut faults);
    let client_keys = &config.compat.session_service.keys;
    let path = "compat.session_service.keys";
    let session_service = store::read_jwt_keys(path, client_keys, env, &mut faults);
    let oidc = oidc::read_client_secrets(&config.oidc, env, &mut faults);
    // Faults of these keys are reported above.
    let tokens = &config.tokens;
    let further = tokens.previous.iter().chain(&tokens.next).map(|k| &k.key);
    let all = std::iter::once(&tokens.key).chain(further);
    let all: Vec<Secret> = all
        .filter_map(|key| read_secret("", key, env).ok())
        .collect();
    let sealing = SealingKeys::derive(&all);
    match (signing_key, store, sealing) {
        (Some(signing_key), Some(store), Some(sealing)) if faults.is_empty() => Ok(Secrets {
            signing_key,
            published_keys: keys.collect(),
            gateway,
            clients,
            tls,
            engine_transports,
            webhooks,
            transmitters,
            store,
            ledger,
            session_service,
            oidc,
            sealing,
        }),
        _ => Err(Faults(faults)),
    }
}

/// Reads the secrets of `api.clients`, and no others.
pub fn fetch_clients(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ClientSecret>, Faults> {
    let mut faults = Vec::new();
    let clients = read_clients(config, env, None, &mut faults);
    if faults.is_empty() {
        Ok(clients)
    } else {
        Err(Faults(faults))
    }
}

/// The signing key, then the others. Each `kid` is unique, because a verifier would otherwise pick the wrong key.
fn read_token_keys(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) -> Vec<SigningKey> {
    let tokens = &config.tokens;
    let signing_key = (
        "tokens".to_owned(),
        tokens.algorithm,
        &tokens.key,
        &tokens.kid,
    );
    let listed = [("next", &tokens.next), ("previous", &tokens.previous)];
    let further = listed.into_iter().flat_map(|(list, keys)| {
        let at = move |index: usize| format!("tokens.{list}[{index}]");
        let keys = keys.iter().enumerate();
        keys.map(move |(index, key)| (at(index), key.algorithm, &key.key, &key.kid))
    });
    let mut keys: Vec<SigningKey> = Vec::new();
    for (path, algorithm, key, kid) in std::iter::once(signing_key).chain(further) {
        let path = format!("{path}.key");
        let key = read_secret(&path, key, env).and_then(|secret| {
            SigningKey::new(algorithm, &secret, kid.as_deref())
                .map_err(|e| Fault::new(&path, e.to_string()))
        });
        match key {
            Ok(key) if keys.iter().any(|other| other.kid() == key.kid()) => {
                let message = format!("another key is named {:?} too", key.kid());
                faults.push(Fault::new(path, message));
            }
            Ok(key) => keys.push(key),
            Err(fault) => faults.push(fault),
        }
    }
    keys
}

fn read_clients(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    gateway: Option<&Secret>,
    faults: &mut Vec<Fault>,
) -> Vec<ClientSecret> {
    let mut clients: Vec<ClientSecret> = Vec::new();
    for (index, client) in config.api.clients.iter().enumerate() {
        let path = format!("api.clients[{index}].secret");
        match read_shared_secret(&path, &client.secret, env) {
            Ok(secret) => {
                let mut taken = clients.iter().map(|c| &c.secret).chain(gateway);
                if taken.any(|other| *other == secret) {
                    faults.push(Fault::new(path, "must be unlike every other secret"));
                }
                clients.push(ClientSecret {
                    name: client.name.clone(),
                    role: client.role,
                    child_runtimes: client.child_runtimes.clone(),
                    secret,
                });
            }
            Err(fault) => faults.push(fault),
        }
    }
    clients
}

/// Public keys of transmitters: not secret, but read from the configured sources like secrets.
fn read_transmitter_keys(config: &Config, faults: &mut Vec<Fault>) -> Vec<Option<PublicKeys>> {
    let all = config.security_events.iter().flat_map(|c| &c.transmitters);
    let keys = all.enumerate().map(|(index, transmitter)| {
        let text = match &transmitter.jwks {
            Jwks::Url(_) => return None,
            Jwks::Inline(keys) => Ok(keys.to_string()),
            Jwks::File(file) => std::fs::read_to_string(file)
                .map_err(|e| format!("cannot read {}: {e}", file.display())),
        };
        let keys = text.and_then(|t| PublicKeys::parse(t.as_bytes()).map_err(|e| e.to_string()));
        let path = format!("security_events.transmitters[{index}].jwks");
        keys.map_err(|message| faults.push(Fault::new(path, message)))
            .ok()
    });
    keys.collect()
}

/// Reads a shared secret, and checks that it fits into an `Authorization` header.
fn read_shared_secret(
    path: &str,
    key: &SecretSource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
    let secret = read_secret(path, key, env)?;
    let fits = secret.reveal().len() >= MIN_SECRET_BYTES
        && secret.reveal().bytes().all(|b| b.is_ascii_graphic());
    let message = "must have 16 or more visible ASCII characters";
    fits.then_some(secret)
        .ok_or_else(|| Fault::new(path, message))
}

/// Reads the secret of a webhook. Format `json` signs with it, so its encoding is checked; `caep` sends it as it is.
fn read_webhook_secret(
    path: &str,
    format: WebhookFormat,
    key: &SecretSource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
    let secret = read_shared_secret(path, key, env)?;
    if format == WebhookFormat::Json && signature::key(&secret).is_none() {
        return Err(Fault::new(path, "must be Base64 after whsec_"));
    }
    Ok(secret)
}

/// Reads the secret that a setting refers to.
pub(crate) fn read_secret(
    path: &str,
    key: &SecretSource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
    match key {
        SecretSource::Inline(secret) => Ok(secret.clone()),
        SecretSource::File(file) => std::fs::read_to_string(file)
            .map(|text| without_line_end(&text))
            .map_err(|e| Fault::new(path, format!("cannot read {}: {e}", file.display()))),
        SecretSource::Env(name) => env(name)
            .map(|text| without_line_end(&text))
            .ok_or_else(|| Fault::new(path, format!("the environment variable {name} is not set"))),
    }
}

/// Editors end a file with a line feed, and tools that set variables from files pass it on.
fn without_line_end(text: &str) -> Secret {
    Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests;
