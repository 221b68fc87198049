//! Fetches the secrets that the configuration only points at, and makes the signing key of one.

use super::fault::{Fault, Faults};
use super::{Algorithm, Config, Jwks, Key, Role, Store, oidc};
use crate::keys::SigningKey;
use crate::oidc::sealed::SealingKeys;
use crate::remote_keys::PublicKeys;
use crate::secret::Secret;
use crate::store;
use crate::store::redis_jwt::JwtKey;
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};

/// The shortest secret that gateways and clients prove themselves with, in bytes.
const MIN_SECRET_BYTES: usize = 16;

/// Every secret of a running service.
pub struct Secrets {
    pub signing_key: SigningKey,
    /// Those of `tokens.next`, then those of `tokens.previous`.
    pub further_keys: Vec<SigningKey>,
    /// What a gateway proves itself with.
    pub gateway: Option<Secret>,
    pub clients: Vec<ClientSecret>,
    /// Of each of `webhooks`, in their order.
    pub webhooks: Vec<Option<Secret>>,
    /// Of each of `security_events.transmitters`, in their order; `None`: they are at a URL.
    pub transmitters: Vec<Option<PublicKeys>>,
    pub store: StoreSecrets,
    /// Of the OpenID providers, in their order; a public client has none.
    pub oidc: Vec<Option<Secret>>,
    /// Seals what leaves the service and comes back.
    pub sealing: SealingKeys,
}

/// What the store is reached with.
#[derive(Debug)]
pub struct StoreSecrets {
    /// It may hold a password.
    pub url: Option<Secret>,
    /// What the JWTs of `redis-jwt` are verified with.
    pub keys: Vec<JwtKey>,
    /// What replicas have in common that share no store: the secret of `tokens.key`.
    pub seed: Option<Secret>,
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
    let mut keys = token_keys(config, env, &mut faults).into_iter();
    let signing_key = keys.next();
    let gateway = config.gateways.secret.as_ref().and_then(|key| {
        let secret = read_proof("gateways.secret", key, env);
        secret.map_err(|fault| faults.push(fault)).ok()
    });
    let store = fetch_store(&config.store, env)
        .map_err(|Faults(more)| faults.extend(more))
        .map(|store| StoreSecrets {
            seed: read("tokens.key", &config.tokens.key, env).ok(),
            ..store
        })
        .ok();
    let clients = clients(config, env, gateway.as_ref(), &mut faults);
    let webhooks = config.webhooks.iter().enumerate().map(|(index, hook)| {
        let path = format!("webhooks[{index}].secret");
        let secret = hook.secret.as_ref().map(|key| read_proof(&path, key, env));
        secret.and_then(|secret| secret.map_err(|fault| faults.push(fault)).ok())
    });
    let webhooks = webhooks.collect();
    let transmitters = transmitters(config, &mut faults);
    let oidc = oidc::client_secrets(&config.oidc, env, &mut faults);
    // Whatever is wrong with these keys has been told above.
    let tokens = &config.tokens;
    let further = tokens.previous.iter().chain(&tokens.next).map(|k| &k.key);
    let all = std::iter::once(&tokens.key).chain(further);
    let all: Vec<Secret> = all.filter_map(|key| read("", key, env).ok()).collect();
    let sealing = SealingKeys::derive(&all);
    match (signing_key, store, sealing) {
        (Some(signing_key), Some(store), Some(sealing)) if faults.is_empty() => Ok(Secrets {
            signing_key,
            further_keys: keys.collect(),
            gateway,
            clients,
            webhooks,
            transmitters,
            store,
            oidc,
            sealing,
        }),
        _ => Err(Faults(faults)),
    }
}

/// Reads what those who call `/v1` prove themselves with, and nothing else.
pub fn fetch_clients(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<ClientSecret>, Faults> {
    let mut faults = Vec::new();
    let clients = clients(config, env, None, &mut faults);
    if faults.is_empty() {
        Ok(clients)
    } else {
        Err(Faults(faults))
    }
}

/// The key that signs, then the others. No two have one name: a verifier would take the wrong one.
fn token_keys(
    config: &Config,
    env: &dyn Fn(&str) -> Option<String>,
    faults: &mut Vec<Fault>,
) -> Vec<SigningKey> {
    let tokens = &config.tokens;
    let signs = (
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
    for (path, algorithm, key, kid) in std::iter::once(signs).chain(further) {
        let path = format!("{path}.key");
        let key = read(&path, key, env).and_then(|secret| {
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

/// Reads what the store alone needs.
pub fn fetch_store(
    config: &Store,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<StoreSecrets, Faults> {
    let path = "store.url";
    let url = config.url().map(|key| {
        let url = read(path, key, env)?;
        let checked = store::check_url(config, url.reveal());
        checked.map_err(|fault| Fault::new(path, fault))?;
        Ok(url)
    });
    let mut faults = Vec::new();
    let url = url.transpose().unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let keys = match config {
        Store::RedisJwt(jwt) => jwt.keys.as_slice(),
        _ => &[],
    };
    let keys = keys.iter().enumerate().filter_map(|(index, key)| {
        let path = format!("store.keys[{index}].key");
        jwt_key(&path, key, env)
            .map_err(|fault| faults.push(fault))
            .ok()
    });
    let keys = keys.collect();
    if !faults.is_empty() {
        return Err(Faults(faults));
    }
    Ok(StoreSecrets {
        url,
        keys,
        seed: None,
    })
}

fn jwt_key(
    path: &str,
    key: &super::JwtKey,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<JwtKey, Fault> {
    let text = read(path, &key.key, env)?;
    let pem = text.reveal().as_bytes();
    let (algorithm, decoding) = match key.algorithm {
        Algorithm::Hs256 => (Jwa::HS256, Ok(DecodingKey::from_secret(pem))),
        Algorithm::Rs256 => (Jwa::RS256, DecodingKey::from_rsa_pem(pem)),
        Algorithm::Es256 => (Jwa::ES256, DecodingKey::from_ec_pem(pem)),
        Algorithm::EdDsa => (Jwa::EdDSA, DecodingKey::from_ed_pem(pem)),
    };
    let not_one = format!("is not a public key for {algorithm:?} in PEM");
    Ok(JwtKey {
        algorithm,
        kid: key.kid.clone(),
        key: decoding.map_err(|_| Fault::new(path, not_one))?,
    })
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

/// No secrets, but like them read from where the configuration points.
fn transmitters(config: &Config, faults: &mut Vec<Fault>) -> Vec<Option<PublicKeys>> {
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
        keys.map_err(|words| faults.push(Fault::new(path, words)))
            .ok()
    });
    keys.collect()
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

/// The secret behind a setting.
pub(super) fn read(
    path: &str,
    key: &Key,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_text;

    const FIRST: &str = "a first secret, of 32 bytes or more";
    const SECOND: &str = "another secret, of 32 bytes or more";

    fn names(tokens: &str) -> Result<Vec<String>, String> {
        let config = from_text(&format!("tokens: {tokens}")).map_err(|f| f.to_string())?;
        let env = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| FIRST.to_owned());
        let secrets = fetch(&config.config, &env).map_err(|f| f.to_string())?;
        let all = std::iter::once(&secrets.signing_key).chain(&secrets.further_keys);
        Ok(all.map(|key| key.kid().to_owned()).collect())
    }

    #[test]
    fn keys_before_and_after_the_one_that_signs_are_fetched() {
        let tokens = format!(
            "{{ kid: now, next: [ {{ algorithm: HS256, key: {{ inline: '{SECOND}' }}, kid: soon }} ], \
             previous: [ {{ algorithm: EdDSA, key: {{ file: tests/keys/eddsa.pem }}, kid: old }}, \
             {{ algorithm: RS256, key: {{ file: tests/keys/rs256.pem }}, kid: older }} ] }}"
        );
        assert_eq!(names(&tokens).unwrap(), ["now", "soon", "old", "older"]);
    }

    #[test]
    fn no_two_keys_have_one_name_and_every_fault_is_told() {
        let told = names(&format!(
            "{{ kid: a, next: [ {{ algorithm: HS256, key: {{ inline: '{SECOND}' }}, kid: a }} ], \
             previous: [ {{ algorithm: ES256, key: {{ file: tests/keys/rs256.pem }} }}, \
             {{ algorithm: HS256, key: {{ inline: short }} }} ] }}"
        ));
        assert_eq!(
            told.unwrap_err(),
            "tokens.next[0].key: another key is named \"a\" too\n\
             tokens.previous[0].key: not a PKCS#8 PEM private key for ES256 (curve P-256)\n\
             tokens.previous[1].key: an HS256 secret needs 32 bytes or more, this one has 5"
        );
        let same = "{ previous: [ { algorithm: HS256, key: { env: BERTH_TOKEN_KEY } } ] }";
        assert!(names(same).unwrap_err().contains("another key is named"));
    }

    #[test]
    fn shapes_are_checked_without_telling_a_secret() {
        let told = names(
            "{ previous: [ { algorithm: HS1, key: 5 }, { algorithm: HS256, key: hunter2, kid: '' } ] }",
        );
        let told = told.unwrap_err();
        assert!(!told.contains("hunter2"), "{told}");
        for line in [
            "tokens.previous[0].key: expected {env: NAME}, {file: PATH} or {inline: TEXT}",
            "tokens.previous[1].key: expected {env: NAME}, {file: PATH} or {inline: TEXT}",
            "tokens.previous[1].kid: must not be empty; null names the key by its thumbprint",
        ] {
            assert!(told.lines().any(|l| l == line), "{told}");
        }
        assert!(
            told.contains("tokens.previous[0].algorithm: unknown variant"),
            "{told}"
        );
    }
}
