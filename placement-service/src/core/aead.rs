//! Encrypts texts that leave the service and come back: browsers may carry them and stores may keep them, but only the
//! service can read or change them. XChaCha20-Poly1305, because its nonces are long enough to be random.

use crate::core::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;

const NONCE_BYTES: usize = 24;

/// Keys that all replicas share and no store contains. The first key seals and every key opens, so that the secret
/// behind them can be rotated.
#[derive(Clone)]
pub struct SealingKeys {
    first: XChaCha20Poly1305,
    others: Vec<XChaCha20Poly1305>,
}

impl SealingKeys {
    /// Derives one key from each secret; a key does not reveal its secret. `None` without a secret.
    #[must_use]
    pub fn derive(secrets: &[Secret]) -> Option<Self> {
        let mut keys = secrets.iter().filter_map(derive_key);
        Some(Self {
            first: keys.next()?,
            others: keys.collect(),
        })
    }

    /// Encrypts a text for one purpose. Returns base64url.
    #[must_use]
    pub fn seal(&self, purpose: &str, text: &[u8]) -> Option<String> {
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::rng().fill_bytes(&mut nonce);
        let payload = Payload {
            msg: text,
            aad: purpose.as_bytes(),
        };
        let sealed = self.first.encrypt(&XNonce::from(nonce), payload).ok()?;
        Some(URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat()))
    }

    /// Decrypts a text that one of these keys sealed for this purpose.
    #[must_use]
    pub fn open(&self, purpose: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, msg) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let (nonce, aad) = (XNonce::from(*nonce), purpose.as_bytes());
        let mut keys = std::iter::once(&self.first).chain(&self.others);
        keys.find_map(|key| key.decrypt(&nonce, Payload { msg, aad }).ok())
    }
}

fn derive_key(secret: &Secret) -> Option<XChaCha20Poly1305> {
    let mac = <Hmac<Sha256> as Mac>::new_from_slice(secret.reveal().as_bytes()).ok()?;
    let key = mac.chain_update(b"berth sealing key 1").finalize();
    Some(XChaCha20Poly1305::new(&key.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(texts: &[&str]) -> SealingKeys {
        let secrets: Vec<Secret> = texts.iter().map(|t| Secret::new((*t).to_owned())).collect();
        SealingKeys::derive(&secrets).unwrap()
    }

    fn key(text: &str) -> SealingKeys {
        keys(&[text])
    }

    #[test]
    fn a_sealed_text_survives_the_rotation_of_its_key() {
        let before = key("a").seal("p", b"x").unwrap();
        assert_eq!(keys(&["b", "a"]).open("p", &before).unwrap(), b"x");
        let after = keys(&["b", "a"]).seal("p", b"x").unwrap();
        assert_eq!(key("a").open("p", &after), None);
        assert!(SealingKeys::derive(&[]).is_none());
    }

    #[test]
    fn only_the_same_key_and_purpose_open_a_sealed_text() {
        let sealed = key("a").seal("p", b"eyJ.text").unwrap();
        assert_eq!(key("a").open("p", &sealed).unwrap(), b"eyJ.text");
        assert_eq!(key("b").open("p", &sealed), None);
        assert_eq!(key("a").open("q", &sealed), None);
        assert_ne!(sealed, key("a").seal("p", b"eyJ.text").unwrap());
        for index in 0..sealed.len() {
            let mut other = sealed.clone().into_bytes();
            other[index] = if other[index] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(key("a").open("p", &other), None, "{index}");
        }
        for malformed in ["", "A", "????", &sealed[..30]] {
            assert_eq!(key("a").open("p", malformed), None);
        }
    }
}
