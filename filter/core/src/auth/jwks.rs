//! Keys from the placement service's key set: parses the set
//! ([RFC 7517](https://www.rfc-editor.org/rfc/rfc7517)) and decides how often to fetch it. Knows no clock and no host.

use crate::auth::jwt::Key;
use crate::retry::RetrySchedule;
use serde::Deserialize;

/// Maximum keys that are read from a set.
const MAX_KEYS: usize = 64;
/// Maximum milliseconds between two attempts after failures.
const MAX_BACK_OFF_MS: u64 = 30_000;
/// Minimum milliseconds between two fetches that tokens with an unknown key cause.
pub const UNKNOWN_KEY_GAP_MS: u64 = 5_000;
/// Milliseconds after which a fetch without a result counts as failed.
const TIMEOUT_MS: u64 = 60_000;

/// Parses a key set. Keys of unsupported types are skipped, and so are shared secrets.
///
/// # Errors
/// When it is not a key set, or has no usable key.
pub fn parse(body: &[u8]) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let key_set: Set = serde_json::from_slice(body).map_err(|_| "the body is not a key set")?;
    let keys: Vec<Key> = key_set
        .keys
        .into_iter()
        .take(MAX_KEYS)
        .filter_map(|jwk| Key::from_jwk(jwk).ok())
        .filter(|key| !key.is_secret())
        .collect();
    if keys.is_empty() {
        return Err("the key set has no usable key");
    }
    Ok(keys)
}

/// When to fetch the key set: `refresh_ms` after each success.
#[must_use]
pub const fn schedule(refresh_ms: u64) -> RetrySchedule {
    RetrySchedule::new(refresh_ms, MAX_BACK_OFF_MS, TIMEOUT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn anything_but_a_set_of_public_keys_is_refused() {
        let secret =
            r#"{"keys":[{"kty":"oct","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"}]}"#;
        for invalid in [
            "",
            "{}",
            "[]",
            r#"{"keys":[]}"#,
            r#"{"keys":[7,{"kty":"x"}]}"#,
            secret,
        ] {
            assert!(parse(invalid.as_bytes()).is_err(), "{invalid}");
        }
    }
}
