//! The session id: 256 random bits that only the browser has. The service and its stores use the SHA-256 of it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::Rng;
use sha2::{Digest, Sha256};
use std::fmt;

/// The value of the login cookie: 32 bytes from a CSPRNG as base64url. A secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId(String);

impl SessionId {
    /// Bytes of the id as text: 32 bytes in base64url without padding.
    pub const TEXT_BYTES: usize = 43;

    /// A new random id. Ids never come from a client: this prevents session fixation.
    #[must_use]
    pub fn generate() -> Self {
        let mut bytes = [0_u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Parses a cookie's value; `None` if it cannot be a session id of this service.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let well_formed = text.len() == Self::TEXT_BYTES
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        well_formed.then(|| Self(text.to_owned()))
    }

    /// The key of the session in stores and caches.
    #[must_use]
    pub fn hash(&self) -> IdHash {
        IdHash(Sha256::digest(self.0.as_bytes()).into())
    }

    /// The id itself. Only for the cookie.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[session id]")
    }
}

/// SHA-256 of a session id: the key of its row. Not for logs; these use `session_ref`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdHash(pub [u8; 32]);

impl fmt::Debug for IdHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[id hash]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn generated_ids_differ_and_parse() {
        let (a, b) = (SessionId::generate(), SessionId::generate());
        assert_ne!(a.reveal(), b.reveal());
        assert_eq!(SessionId::parse(a.reveal()), Some(a.clone()));
        assert_ne!(a.hash(), b.hash());
    }

    #[test]
    fn debug_output_hides_ids() {
        let id = SessionId::generate();
        assert_eq!(format!("{id:?} {:?}", id.hash()), "[session id] [id hash]");
    }

    proptest! {
        #[test]
        fn only_ids_of_the_generated_form_parse(text in "\\PC{0,60}") {
            if let Some(id) = SessionId::parse(&text) {
                prop_assert_eq!(id.reveal().len(), SessionId::TEXT_BYTES);
                prop_assert!(id.reveal().is_ascii());
            }
        }
    }
}
