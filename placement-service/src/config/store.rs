//! Settings of the store of sessions and accounts.

use super::fault_collector::{FaultCollector, SECOND};
use super::{Algorithm, Config, SecretSource};
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The default prefix of keys in Redis.
const PREFIX: &str = "berth";
const MAX_PREFIX_BYTES: usize = 64;

/// The store of sessions and accounts. Each kind has settings of its own, so a file replaces this section as a
/// whole, and the defaults of its fields are here rather than in `default.yaml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Store {
    /// One file, for one replica.
    Sqlite {
        path: PathBuf,
        #[serde(default = "timeout", with = "humantime_serde")]
        timeout: Duration,
    },
    Postgres {
        /// `postgres://user:password@host:5432/database?sslmode=verify-full`
        url: SecretSource,
        #[serde(default = "timeout", with = "humantime_serde")]
        timeout: Duration,
    },
    /// Redis or Valkey.
    Redis {
        /// `redis://:password@host:6379/0`, `rediss://` with TLS.
        url: SecretSource,
        #[serde(default = "prefix")]
        prefix: String,
        #[serde(default = "timeout", with = "humantime_serde")]
        timeout: Duration,
    },
    /// The sessions of another login service, read-only.
    RedisJwt(RedisJwt),
}

/// The sessions of another login service in Redis: the key is a prefix and the cookie's value, the value a JWT.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisJwt {
    pub url: SecretSource,
    /// The part of a key before the cookie's value.
    #[serde(default)]
    pub prefix: String,
    /// The keys that verify the JWTs.
    pub keys: Vec<JwtKey>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
    #[serde(default = "account_claim")]
    pub account_claim: String,
    #[serde(default = "roles_claim")]
    pub roles_claim: String,
    #[serde(default = "timeout", with = "humantime_serde")]
    pub timeout: Duration,
}

/// HS256: the text of the shared secret. Other algorithms: a public key in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtKey {
    pub algorithm: Algorithm,
    pub key: SecretSource,
    /// The `kid` of the JWTs that this key verifies; any JWT when absent.
    pub kid: Option<String>,
    /// Accept an HS256 secret that is shorter than its algorithm requires, because another service still signs with it.
    #[serde(default)]
    pub allow_short_key: bool,
}

impl Store {
    /// Timeout of a call.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        match self {
            Self::Sqlite { timeout, .. }
            | Self::Postgres { timeout, .. }
            | Self::Redis { timeout, .. }
            | Self::RedisJwt(RedisJwt { timeout, .. }) => *timeout,
        }
    }

    /// The source of the URL, if this kind has one.
    #[must_use]
    pub const fn url(&self) -> Option<&SecretSource> {
        match self {
            Self::Sqlite { .. } => None,
            Self::Postgres { url, .. }
            | Self::Redis { url, .. }
            | Self::RedisJwt(RedisJwt { url, .. }) => Some(url),
        }
    }
}

pub(super) fn timeout() -> Duration {
    SECOND
}

pub(super) fn prefix() -> String {
    PREFIX.to_owned()
}

fn account_claim() -> String {
    "sub".to_owned()
}

fn roles_claim() -> String {
    "roles".to_owned()
}

/// Checks a key prefix of Redis. Braces are excluded: the store encloses the prefix in braces as the hash tag.
pub(super) fn check_prefix(path: &str, prefix: &str, faults: &mut FaultCollector) {
    let fine = |b: u8| b.is_ascii_graphic() && !matches!(b, b'{' | b'}');
    if !(1..=MAX_PREFIX_BYTES).contains(&prefix.len()) || !prefix.bytes().all(fine) {
        let message = "must be 1 to 64 visible ASCII characters without braces";
        faults.add(path, message);
    }
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let store = &config.store;
    let min = Duration::from_millis(50);
    faults.check_range("store.timeout", store.timeout(), min, 30 * SECOND);
    if let Store::Redis { prefix, .. } = store {
        check_prefix("store.prefix", prefix, faults);
    }
    if let Store::RedisJwt(jwt) = store {
        if jwt.keys.is_empty() {
            faults.add("store.keys", "must name at least one key");
        }
        for (name, claim) in [
            ("store.account_claim", &jwt.account_claim),
            ("store.roles_claim", &jwt.roles_claim),
        ] {
            if claim.is_empty() {
                faults.add(name, "must not be empty");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::secrets;
    use crate::config::load::{DEFAULT, from_text};
    use serde_json::Value;

    fn faults(text: &str) -> String {
        from_text(text).unwrap_err().to_string()
    }

    #[test]
    fn defaults_here_and_in_the_default_file_agree() {
        let tree: Value = serde_saphyr::from_str(DEFAULT).unwrap();
        assert_eq!(tree["store"]["timeout"], "1s");
        let text = "store: { kind: redis, url: { env: URL } }";
        let store = from_text(text).unwrap().config.store;
        let Store::Redis { prefix, .. } = &store else {
            panic!("not a redis store");
        };
        assert_eq!((prefix.as_str(), store.timeout()), ("berth", SECOND));
    }

    #[test]
    fn settings_of_another_kind_and_bad_values_are_faults() {
        assert_eq!(
            faults("store: { kind: postgres, path: a.db }"),
            "store.path: unknown field; known here: url, timeout"
        );
        assert_eq!(
            faults("store: { kind: redis, url: { env: URL }, prefix: '{x}', timeout: 1ms }"),
            "store.prefix: must be 1 to 64 visible ASCII characters without braces\n\
             store.timeout: must be 50ms to 30s, not 1ms"
        );
        assert_eq!(faults("store: { kind: postgres }"), "store.url: is missing");
        assert_eq!(
            faults("store: { kind: mysql }"),
            "store.kind: unknown variant `mysql`, expected one of `sqlite`, `postgres`, `redis`, `redis-jwt`"
        );
    }

    #[test]
    fn keys_of_jwts_are_checked() {
        assert_eq!(
            faults("store: { kind: redis-jwt, url: { env: URL }, keys: [], account_claim: '' }"),
            "store.account_claim: must not be empty\nstore.keys: must name at least one key"
        );
        let text = "store: { kind: redis-jwt, url: { inline: 'redis://h' }, keys: [ \
                    { algorithm: RS256, key: { env: A } }, { algorithm: HS256, key: { env: B } } ] }";
        let store = from_text(text).unwrap().config.store;
        let env = |name: &str| (name == "A").then(|| "no PEM".to_owned());
        assert_eq!(
            secrets::fetch_store(&store, &env).unwrap_err().to_string(),
            "store.keys[0].key: is not a public key for RS256 in PEM\n\
             store.keys[1].key: the environment variable B is not set"
        );
    }

    #[test]
    fn a_short_secret_of_another_service_is_accepted_only_explicitly() {
        let read = |length: usize, more: &str| {
            let text = format!(
                "store: {{ kind: redis-jwt, url: {{ inline: 'redis://h' }}, \
                 keys: [ {{ algorithm: HS256, key: {{ env: A }}{more} }} ] }}"
            );
            let loaded = from_text(&text).unwrap();
            let env = |_: &str| Some("s".repeat(length));
            let read = secrets::fetch_store(&loaded.config.store, &env);
            let warned = loaded
                .warnings
                .iter()
                .any(|w| w.contains("allow_short_key"));
            (read.map(|_| warned)).map_err(|faults| faults.to_string())
        };
        let explicit = ", allow_short_key: true";
        assert_eq!(read(32, ""), Ok(false));
        assert_eq!(
            read(31, "").unwrap_err(),
            "store.keys[0].key: an HS256 secret needs 32 bytes or more, this one has 31; allow_short_key accepts it while another service signs with it"
        );
        assert_eq!(read(31, explicit), Ok(true));
        assert_eq!(
            read(15, explicit).unwrap_err(),
            "store.keys[0].key: a secret needs 16 bytes or more, this one has 15"
        );
    }

    #[test]
    fn the_fault_of_an_invalid_url_hides_its_password() {
        for (kind, fault) in [
            ("postgres", "the URL does not start with postgres://"),
            ("redis", "the URL cannot be read as one of Redis"),
        ] {
            let text = format!("store: {{ kind: {kind}, url: {{ env: URL }} }}");
            let store = from_text(&text).unwrap().config.store;
            let fetch = |url: Option<&str>| {
                let url = url.map(str::to_owned);
                let error = secrets::fetch_store(&store, &|_| url.clone()).unwrap_err();
                error.to_string()
            };
            assert_eq!(
                fetch(None),
                "store.url: the environment variable URL is not set"
            );
            let url = Some("http://user:hunter2@host/");
            assert_eq!(fetch(url), format!("store.url: {fault}"));
            let unknown = format!("{kind}://user:p@host/0?db=hunter2");
            assert_eq!(
                fetch(Some(&unknown)),
                "store.url: the URL has the parameter `db`, which is not known"
            );
        }
    }
}
