//! The configuration as written: field names and defaults, nothing unknown. Shapes only; what the
//! values mean is checked elsewhere.

use crate::route::Action;
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
    pub(super) trust_headers: Vec<String>,
    pub(super) routes: Vec<Route>,
    pub(super) tokens: Tokens,
    #[serde(default)]
    pub(super) feed: Feed,
    #[serde(default)]
    pub(super) cache: Cache,
    #[serde(default = "close_grace_ms")]
    pub(super) close_grace_ms: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Service {
    pub(super) cluster: String,
    pub(super) authority: String,
    pub(super) timeout_ms: u32,
    pub(super) secret: Option<Secret>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            cluster: "placement".to_owned(),
            authority: "berth-placement".to_owned(),
            timeout_ms: 12_000,
            secret: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Route {
    pub(super) prefix: Option<String>,
    pub(super) path: Option<String>,
    pub(super) action: Action,
    #[serde(default)]
    pub(super) bearer: Permission,
    #[serde(default)]
    pub(super) anonymous: Permission,
    pub(super) max_age_s: Option<u32>,
    pub(super) max_age_jitter: Option<f64>,
}

/// Whether a route lets somebody in.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Permission {
    Allow,
    #[default]
    Deny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Feed {
    pub(super) hold_ms: u32,
    pub(super) lost_after_ms: u32,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            hold_ms: 5_000,
            lost_after_ms: 10_000,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Cache {
    pub(super) entries: u32,
    pub(super) bytes: u32,
    pub(super) ttl_s: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 8_388_608,
            ttl_s: 30,
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
    #[serde(default = "leeway_s")]
    pub(super) leeway_s: u32,
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
    pub(super) refresh_s: u32,
}

impl Default for Jwks {
    fn default() -> Self {
        Self {
            path: "/.well-known/jwks.json".to_owned(),
            refresh_s: 300,
        }
    }
}

/// A secret text. It has no `Debug`, and a wrong one is not quoted in the error.
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

const fn close_grace_ms() -> u32 {
    500
}

const fn leeway_s() -> u32 {
    5
}
