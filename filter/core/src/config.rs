//! The configuration of the filter after validation: every value in here is valid. `schema` is the JSON as written,
//! `validate` turns it into this and reports every error at once. Knows no host.

mod proto_struct;
mod schema;
mod validate;

use crate::auth::jwt::Keys;
use crate::auth::token_cache;
use crate::control::events;
use crate::request::origin::Origin;
use crate::routing::Route;
use std::fmt;

/// A valid configuration.
pub struct Config {
    /// How to reach the placement service.
    pub service: Service,
    /// The name of the login cookie.
    pub cookie: String,
    /// The path to which page navigations without a session are redirected.
    pub login_path: String,
    /// Paths below which a request is never a page navigation.
    pub api_prefixes: Vec<String>,
    /// Further origins whose pages may open WebSockets and send requests to engines.
    pub origins: Vec<Origin>,
    /// Further headers that are removed from client requests, besides `x-berth-*` and the other fixed ones.
    pub strip_headers: Vec<String>,
    /// In order: the first match decides.
    pub routes: Vec<Route>,
    /// The keys of the configuration, and the claims that tokens must have.
    pub keys: Keys,
    /// The source of further keys.
    pub jwks: Option<Jwks>,
    /// The polls for events of the placement service.
    pub events: events::Settings,
    /// The cache of tokens.
    pub cache: token_cache::Settings,
    /// The cache of the engines of plain requests.
    pub engine_cache: token_cache::Settings,
    /// Milliseconds from the decision to close a WebSocket to its reset.
    pub close_timeout_ms: u32,
}

/// How to reach the placement service.
pub struct Service {
    /// The cluster in Envoy.
    pub cluster: String,
    /// The `:authority` of calls.
    pub authority: String,
    /// Maximum milliseconds of a call.
    pub timeout_ms: u32,
    /// `Bearer ...`, when the service requires a secret.
    pub authorization: Option<String>,
}

/// The source of further keys: the placement service.
pub struct Jwks {
    /// The path at the service.
    pub path: String,
    /// Milliseconds between two fetches.
    pub refresh_ms: u64,
}

/// Every error of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Config {
    /// Parses and validates a configuration: JSON text, or a `google.protobuf.Struct` in its wire format, which Envoy
    /// passes on as it is. `env` looks up environment variables.
    ///
    /// # Errors
    /// A wrong type or an unknown field alone, else every invalid value. Each error names its field.
    pub fn parse(bytes: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let single_error = |error: String| ConfigErrors(vec![error]);
        // JSON first: prost skips unknown fields, so some texts would decode as a Struct. No Struct is valid JSON.
        let json = match serde_json::from_slice(bytes) {
            Ok(json) => json,
            Err(error) => {
                proto_struct::to_json(bytes).ok_or_else(|| single_error(error.to_string()))?
            }
        };
        let raw: schema::Config = serde_path_to_error::deserialize(json)
            .map_err(|error| single_error(error.to_string()))?;
        validate::validate(raw, env)
    }
}

#[cfg(test)]
mod tests;
