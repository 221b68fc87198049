//! Remembers which tokens have been verified, and until when they hold. A session's requests bring the
//! same token again and again, and a look here costs a hundredth of a signature. Knows no keys: whoever
//! changes the keys begins with an empty memory.

use std::collections::HashMap;

/// Bytes of tokens that one generation holds at the most; there are two.
const MAX_BYTES: usize = 512 * 1024;

/// Tokens with the Unix seconds of their end.
#[derive(Clone, Default)]
pub struct Verified {
    recent: HashMap<Box<str>, u64>,
    bytes: usize,
    older: HashMap<Box<str>, u64>,
}

impl Verified {
    /// Until when a token holds that has been verified; `None` when it has not, or was forgotten.
    #[must_use]
    pub fn until(&self, token: &str) -> Option<u64> {
        let found = self.recent.get(token).or_else(|| self.older.get(token));
        found.copied()
    }

    /// A token has been verified. When there is no more room, the older half is forgotten.
    pub fn note(&mut self, token: &str, until: u64) {
        if self.bytes.saturating_add(token.len()) > MAX_BYTES {
            self.older = std::mem::take(&mut self.recent);
            self.bytes = 0;
        }
        if self.recent.insert(token.into(), until).is_none() {
            self.bytes = self.bytes.saturating_add(token.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn only_what_was_noted_is_known() {
        let mut verified = Verified::default();
        verified.note("a.b.c", 7);
        assert_eq!(verified.until("a.b.c"), Some(7));
        assert_eq!(verified.until("a.b.C"), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut verified = Verified::default();
        let token = |n: usize| format!("{n:>1024}");
        let fit = MAX_BYTES / 1024;
        for n in 0..=2 * fit {
            verified.note(&token(n), 1);
        }
        let held = verified.recent.len() + verified.older.len();
        assert!(held <= 2 * fit);
        assert_eq!(verified.until(&token(0)), None);
        assert_eq!(verified.until(&token(2 * fit)), Some(1));
    }
}
