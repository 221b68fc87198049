//! The filter's configuration as it is used: everything in here has been checked. [`raw`] is the JSON
//! as written, [`check`] turns it into this and finds every fault at once.

mod check;
mod raw;
mod structure;

use crate::cache;
use crate::feed;
use crate::origin::Origin;
use crate::route::Route;
use crate::token::Keys;
use std::fmt;

/// A sound configuration.
pub struct Config {
    /// How to reach the placement service.
    pub service: Service,
    /// The login cookie's name.
    pub cookie: String,
    /// Where pages without a session are sent; on this host.
    pub login_path: String,
    /// Below these, a request is never a page navigation (S14).
    pub api_prefixes: Vec<String>,
    /// Origins besides the own one whose pages may open WebSockets.
    pub origins: Vec<Origin>,
    /// Headers that clients must not set, besides `x-berth-*` and the other fixed ones.
    pub trust_headers: Vec<String>,
    /// In order: the first that takes the path decides.
    pub routes: Vec<Route>,
    /// The keys of the configuration, and what tokens must say.
    pub keys: Keys,
    /// Where further keys come from.
    pub jwks: Option<Jwks>,
    /// The feed of events from the placement service.
    pub feed: feed::Settings,
    /// The cache of tokens.
    pub cache: cache::Settings,
    /// Milliseconds that a WebSocket which must end has for a close frame.
    pub close_grace_ms: u32,
}

/// How to reach the placement service.
pub struct Service {
    /// Envoy's cluster.
    pub cluster: String,
    /// The `:authority` of callouts.
    pub authority: String,
    /// Milliseconds until a callout is given up.
    pub timeout_ms: u32,
    /// `Bearer ...`, when the service asks for a secret.
    pub authorization: Option<String>,
}

/// Where further keys come from: the placement service.
pub struct Jwks {
    /// The service's path.
    pub path: String,
    /// Milliseconds between two fetches.
    pub refresh_ms: u64,
}

/// Every fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Config {
    /// Reads and checks a configuration: JSON text, or a `google.protobuf.Struct` as Envoy hands it
    /// over. `env` looks up what is kept in environment variables.
    ///
    /// # Errors
    /// With every fault, each named by its field: a wrong shape alone, or all that is wrong inside.
    pub fn parse(bytes: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Faults> {
        let fault = |error: String| Faults(vec![error]);
        let json = match structure::read(bytes) {
            Some(json) => json,
            None => serde_json::from_slice(bytes).map_err(|error| fault(error.to_string()))?,
        };
        let raw: raw::Config =
            serde_path_to_error::deserialize(json).map_err(|error| fault(error.to_string()))?;
        check::check(raw, env)
    }
}

#[cfg(test)]
mod tests;
