//! Keys from the placement service's key set: reads the set (RFC 7517), and says when to fetch it
//! again. Knows no clock and no host: both are told what time it is.

use crate::token::Key;
use serde::Deserialize;

/// Keys of a set that are looked at.
const MAX_KEYS: usize = 64;
/// Milliseconds before the second try; doubled from try to try.
const FIRST_BACK_OFF_MS: u64 = 250;
/// Milliseconds between two tries at the most.
const MAX_BACK_OFF_MS: u64 = 30_000;
/// Milliseconds between two fetches that tokens with an unknown key may cause.
const WANTED_EVERY_MS: u64 = 5_000;
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

/// When to fetch the key set. Times are milliseconds of any clock that does not run backwards.
#[derive(Clone, Debug)]
pub struct Schedule {
    refresh_ms: u64,
    next: u64,
    failures: u32,
    last: Option<u64>,
    in_flight: bool,
}

impl Schedule {
    /// The first fetch is due at once, the next ones `refresh_ms` after a good one.
    #[must_use]
    pub const fn new(refresh_ms: u64) -> Self {
        Self {
            refresh_ms,
            next: 0,
            failures: 0,
            last: None,
            in_flight: false,
        }
    }

    /// Whether to fetch now.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        let lost = self
            .last
            .is_some_and(|t| now >= t.saturating_add(LOST_AFTER_MS));
        now >= self.next && (!self.in_flight || lost)
    }

    /// A fetch has begun.
    pub const fn started(&mut self, now: u64) {
        self.in_flight = true;
        self.last = Some(now);
    }

    /// A fetch brought keys.
    pub const fn succeeded(&mut self, now: u64) {
        self.in_flight = false;
        self.failures = 0;
        self.next = now.saturating_add(self.refresh_ms);
    }

    /// A fetch failed: the next one waits longer.
    pub fn failed(&mut self, now: u64) {
        self.in_flight = false;
        let wait = FIRST_BACK_OFF_MS.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(wait.min(MAX_BACK_OFF_MS));
    }

    /// A token named a key that is not known: fetch soon, but not for each such token.
    pub fn want(&mut self) {
        if self.failures == 0 {
            let soon = self.last.map_or(0, |t| t.saturating_add(WANTED_EVERY_MS));
            self.next = self.next.min(soon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn fetches_at_once_and_then_at_the_interval() {
        let mut schedule = Schedule::new(300_000);
        assert!(schedule.is_due(1_000));
        schedule.started(1_000);
        assert!(!schedule.is_due(1_001));
        schedule.succeeded(1_010);
        assert!(!schedule.is_due(301_009));
        assert!(schedule.is_due(301_010));
    }

    #[test]
    fn waits_longer_from_failure_to_failure_up_to_a_limit() {
        let mut schedule = Schedule::new(300_000);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..10 {
            schedule.started(now);
            schedule.failed(now);
            let due = (now..).find(|t| schedule.is_due(*t)).unwrap();
            waits.push(due - now);
            now = due;
        }
        assert_eq!(waits[..4], [250, 500, 1000, 2000]);
        assert_eq!(waits[9], MAX_BACK_OFF_MS);
    }

    #[test]
    fn an_unknown_key_fetches_soon_but_seldom() {
        let mut schedule = Schedule::new(300_000);
        schedule.started(0);
        schedule.succeeded(0);
        schedule.want();
        assert!(!schedule.is_due(WANTED_EVERY_MS - 1));
        assert!(schedule.is_due(WANTED_EVERY_MS));
        schedule.started(WANTED_EVERY_MS);
        schedule.failed(WANTED_EVERY_MS);
        schedule.want();
        assert!(!schedule.is_due(WANTED_EVERY_MS + 1));
    }

    #[test]
    fn a_fetch_that_nothing_is_heard_of_is_made_again() {
        let mut schedule = Schedule::new(300_000);
        schedule.started(1);
        assert!(!schedule.is_due(LOST_AFTER_MS));
        assert!(schedule.is_due(LOST_AFTER_MS + 1));
    }

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
