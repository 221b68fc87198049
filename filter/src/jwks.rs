//! Keys from the placement service's key set: reads the set (RFC 7517), and says how often to fetch it.
//! Knows no clock and no host.

use crate::schedule::Schedule;
use crate::token::Key;
use serde::Deserialize;

/// Keys of a set that are looked at.
const MAX_KEYS: usize = 64;
/// Milliseconds between two tries at the most.
const MAX_BACK_OFF_MS: u64 = 30_000;
/// Milliseconds between two fetches that tokens with an unknown key may cause.
pub const WANTED_EVERY_MS: u64 = 5_000;
/// Milliseconds after which a fetch counts as lost when nothing was heard of it.
const LOST_AFTER_MS: u64 = 60_000;

/// Reads a key set. Keys of a kind that is not supported are left out, and so are shared secrets.
///
/// # Errors
/// When it is no key set, or has no usable key.
pub fn parse(body: &[u8]) -> Result<Vec<Key>, &'static str> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(body).map_err(|_| "this is no key set")?;
    let keys: Vec<Key> = set
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

/// When to fetch the key set, `refresh_ms` after a good fetch.
#[must_use]
pub const fn schedule(refresh_ms: u64) -> Schedule {
    Schedule::new(refresh_ms, MAX_BACK_OFF_MS, LOST_AFTER_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_no_set_of_public_keys_is_refused() {
        let secret =
            r#"{"keys":[{"kty":"oct","k":"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh"}]}"#;
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"keys":[]}"#,
            r#"{"keys":[7,{"kty":"x"}]}"#,
            secret,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
