//! The configuration as written: field names, types and defaults; unknown fields are errors. `validate` checks what the
//! values mean.

use crate::routing::{Action, Activity, LoginTimeout};
use serde::Deserialize;
use serde::de::{Deserializer, Error};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) service: Service,
    #[serde(default = "cookie")]
    pub(super) cookie: String,
    #[serde(default = "login_path")]
    pub(super) login_path: String,
    #[serde(default = "api_prefixes")]
    pub(super) api_prefixes: Vec<String>,
    #[serde(default)]
    pub(super) origins: Vec<String>,
    #[serde(default)]
    pub(super) strip_headers: Vec<String>,
    pub(super) routes: Vec<Route>,
    pub(super) tokens: Tokens,
    #[serde(default)]
    pub(super) events: Events,
    #[serde(default)]
    pub(super) cache: Cache,
    #[serde(default = "close_timeout")]
    pub(super) close_timeout: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) authority: String,
    pub(super) timeout: Duration,
    pub(super) secret: Option<Secret>,
    pub(super) secret_env: Option<String>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            cluster: "placement".to_owned(),
            authority: "berth-placement".to_owned(),
            timeout: Duration::from_millis(12_000),
            secret: None,
            secret_env: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) host: Option<String>,
    pub(super) prefix: Option<String>,
    pub(super) path: Option<String>,
    pub(super) action: Action,
    #[serde(default)]
    pub(super) http: Permission,
    #[serde(default)]
    pub(super) activity: Activity,
    #[serde(default)]
    pub(super) bearer: Permission,
    #[serde(default)]
    pub(super) anonymous: Permission,
    pub(super) on_login_timeout: Option<LoginTimeout>,
    pub(super) max_age: Option<Duration>,
    pub(super) max_age_jitter: Option<Share>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
}

/// Whether a route accepts a kind of request.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Permission {
    Allow,
    #[default]
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Events {
    pub(super) poll_timeout: Duration,
    pub(super) stale_after: Duration,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            poll_timeout: Duration::from_millis(5_000),
            stale_after: Duration::from_millis(10_000),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cache {
    pub(super) entries: u32,
    pub(super) bytes: u32,
    pub(super) ttl: Duration,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 8_388_608,
            ttl: Duration::from_millis(30_000),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    #[serde(default = "issuer")]
    pub(super) issuer: String,
    #[serde(default = "audience")]
    pub(super) audience: String,
    #[serde(default = "leeway")]
    pub(super) leeway: Duration,
    #[serde(default)]
    pub(super) keys: Vec<Key>,
    #[serde(default)]
    pub(super) jwks: Option<Jwks>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    pub(super) kid: Option<String>,
    pub(super) alg: Option<String>,
    pub(super) secret: Option<Secret>,
    pub(super) secret_env: Option<String>,
    pub(super) jwk: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Jwks {
    pub(super) path: String,
    pub(super) refresh: Duration,
}

impl Default for Jwks {
    fn default() -> Self {
        Self {
            path: "/.well-known/jwks.json".to_owned(),
            refresh: Duration::from_millis(300_000),
        }
    }
}

/// A duration: text with a unit, as in the configuration of the placement service.
#[derive(Clone, Copy)]
pub(super) struct Duration(std::time::Duration);

impl Duration {
    const fn from_millis(ms: u64) -> Self {
        Self(std::time::Duration::from_millis(ms))
    }

    /// Whole milliseconds; a longer duration becomes the maximum.
    pub(super) fn as_ms(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match serde_json::Value::deserialize(deserializer) {
            Ok(serde_json::Value::String(text)) => humantime::parse_duration(&text).ok(),
            _ => None,
        };
        text.map(Self).ok_or_else(|| {
            D::Error::custom("expected a duration with a unit such as \"500ms\", \"2s\" or \"10m\"")
        })
    }
}

/// A number with a fraction. Envoy passes such a number of a YAML file on as a text.
#[derive(Clone, Copy)]
pub(super) struct Share(pub(super) f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match serde_json::Value::deserialize(deserializer) {
            Ok(serde_json::Value::Number(number)) => number.as_f64(),
            Ok(serde_json::Value::String(text)) => text.parse().ok(),
            _ => None,
        };
        number
            .map(Self)
            .ok_or_else(|| D::Error::custom("expected a number such as 0.1"))
    }
}

/// A secret. It has no `Debug`, and the error for a wrong type does not quote it.
pub(super) struct Secret(pub(super) String);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer) {
            Ok(serde_json::Value::String(text)) => Ok(Self(text)),
            _ => Err(D::Error::custom("expected a text")),
        }
    }
}

fn cookie() -> String {
    "__Host-berth".to_owned()
}

fn login_path() -> String {
    "/login".to_owned()
}

fn api_prefixes() -> Vec<String> {
    vec!["/api".to_owned()]
}

fn issuer() -> String {
    "berth".to_owned()
}

fn audience() -> String {
    "engine".to_owned()
}

const fn close_timeout() -> Duration {
    Duration::from_millis(500)
}

const fn leeway() -> Duration {
    Duration::from_millis(5_000)
}
