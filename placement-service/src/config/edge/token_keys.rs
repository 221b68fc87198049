//! Settings of the keys with which the edge verifies tokens. Every key is a reference: no file of the edge contains
//! a secret.

use super::{check_file, check_variable};
use crate::config::fault_collector::FaultCollector;
use serde::Deserialize;
use std::path::PathBuf;

/// Either `secret_env` or `jwk_file`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeTokenKey {
    /// The variable of Envoy's environment with a shared secret (HS256).
    #[serde(default)]
    pub secret_env: Option<String>,
    /// The key id of the shared secret.
    #[serde(default)]
    pub kid: Option<String>,
    /// A file with a public key (JWK, RFC 7517), which `berth render` reads.
    #[serde(default)]
    pub jwk_file: Option<PathBuf>,
}

pub(super) fn check(keys: &[EdgeTokenKey], faults: &mut FaultCollector) {
    for (index, key) in keys.iter().enumerate() {
        let path = format!("edge.token_keys[{index}]");
        match (&key.secret_env, &key.jwk_file) {
            (Some(name), None) => check_variable(&format!("{path}.secret_env"), name, faults),
            (None, Some(file)) => {
                check_file(&format!("{path}.jwk_file"), file, faults);
                if key.kid.is_some() {
                    faults.add(format!("{path}.kid"), "a JWK contains its kid itself");
                }
            }
            _ => faults.add(path, "needs either secret_env or jwk_file"),
        }
    }
}
