//! Remembers verified tokens and the claims that count. The requests of a session carry the same token again and
//! again, and a lookup costs a hundredth of a signature check. Knows no keys: when the keys change, the owner starts
//! with an empty cache.

use std::collections::HashMap;
use std::rc::Rc;

/// Maximum bytes of tokens in one generation; there are two. The roles of a token are shorter than the token.
const MAX_BYTES: usize = 512 * 1024;

/// The claims of a verified token that decisions use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedClaims {
    /// Unix seconds: `exp`.
    pub expires_at: u64,
    /// Whether the token belongs to a session (`sid`) and is valid only while that session lives.
    pub has_session: bool,
    /// `roles`; empty if the token has none.
    pub roles: Rc<[String]>,
}

/// Verified tokens.
#[derive(Clone, Default)]
pub struct VerificationCache {
    recent: HashMap<Box<str>, VerifiedClaims>,
    bytes: usize,
    older: HashMap<Box<str>, VerifiedClaims>,
}

impl VerificationCache {
    /// The claims of a token; `None` when it was not verified or is evicted.
    #[must_use]
    pub fn find(&self, token: &str) -> Option<VerifiedClaims> {
        let claims = self.recent.get(token).or_else(|| self.older.get(token));
        claims.cloned()
    }

    /// Adds a verified token. When the generation is full, the older one is evicted.
    pub fn insert(&mut self, token: &str, claims: VerifiedClaims) {
        if self.bytes.saturating_add(token.len()) > MAX_BYTES {
            self.older = std::mem::take(&mut self.recent);
            self.bytes = 0;
        }
        if self.recent.insert(token.into(), claims).is_none() {
            self.bytes = self.bytes.saturating_add(token.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn claims() -> VerifiedClaims {
        VerifiedClaims {
            expires_at: 7,
            has_session: true,
            roles: ["user".to_owned()].into(),
        }
    }

    #[test]
    fn only_inserted_tokens_are_found() {
        let mut verified = VerificationCache::default();
        verified.insert("a.b.c", claims());
        assert_eq!(verified.find("a.b.c"), Some(claims()));
        assert_eq!(verified.find("a.b.C"), None);
    }

    #[test]
    fn size_is_bounded_and_the_oldest_tokens_are_evicted() {
        let mut verified = VerificationCache::default();
        let token = |n: usize| format!("{n:>1024}");
        let fit = MAX_BYTES / 1024;
        for n in 0..=2 * fit {
            verified.insert(&token(n), claims());
        }
        let size = verified.recent.len() + verified.older.len();
        assert!(size <= 2 * fit);
        assert_eq!(verified.find(&token(0)), None);
        assert_eq!(verified.find(&token(2 * fit)), Some(claims()));
    }
}
