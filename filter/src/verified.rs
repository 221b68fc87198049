//! Remembers which tokens have been verified, and what of them counts. A session's requests bring the
//! same token again and again, and a look here costs a hundredth of a signature. Knows no keys: whoever
//! changes the keys begins with an empty memory.

use std::collections::HashMap;

/// Bytes of tokens that one generation holds at the most; there are two.
const MAX_BYTES: usize = 512 * 1024;

/// What is known of a token that has been verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// Unix seconds: its end.
    pub until: u64,
    /// Whether it is of a session (`sid`), and good only while that lives.
    pub session: bool,
}

/// Tokens that have been verified.
#[derive(Clone, Default)]
pub struct Verified {
    recent: HashMap<Box<str>, Good>,
    bytes: usize,
    older: HashMap<Box<str>, Good>,
}

impl Verified {
    /// A token that has been verified; `None` when it has not, or was forgotten.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<Good> {
        let found = self.recent.get(token).or_else(|| self.older.get(token));
        found.copied()
    }

    /// A token has been verified. When there is no more room, the older half is forgotten.
    pub fn note(&mut self, token: &str, good: Good) {
        if self.bytes.saturating_add(token.len()) > MAX_BYTES {
            self.older = std::mem::take(&mut self.recent);
            self.bytes = 0;
        }
        if self.recent.insert(token.into(), good).is_none() {
            self.bytes = self.bytes.saturating_add(token.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const GOOD: Good = Good {
        until: 7,
        session: true,
    };

    #[test]
    fn only_what_was_noted_is_known() {
        let mut verified = Verified::default();
        verified.note("a.b.c", GOOD);
        assert_eq!(verified.find("a.b.c"), Some(GOOD));
        assert_eq!(verified.find("a.b.C"), None);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut verified = Verified::default();
        let token = |n: usize| format!("{n:>1024}");
        let fit = MAX_BYTES / 1024;
        for n in 0..=2 * fit {
            verified.note(&token(n), GOOD);
        }
        let held = verified.recent.len() + verified.older.len();
        assert!(held <= 2 * fit);
        assert_eq!(verified.find(&token(0)), None);
        assert_eq!(verified.find(&token(2 * fit)), Some(GOOD));
    }
}
