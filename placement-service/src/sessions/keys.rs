//! The key that signs tokens for engines: parsed once, checked, and named by a `kid`. The public half is published at
//! `/.well-known/jwks.json`; a shared secret has none. Does not read files or environment variables.

use crate::config::Algorithm;
use crate::core::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, EncodingKey, Header};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// For HS256 at least the size of the hash:
/// [RFC 7518, section 3.2](https://www.rfc-editor.org/rfc/rfc7518#section-3.2).
pub const MIN_HS256_BYTES: usize = 32;

/// Why a key cannot sign. Contains no part of the key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("an HS256 secret needs {MIN_HS256_BYTES} bytes or more, this one has {0}")]
    TooShort(usize),
    #[error("not a PKCS#8 PEM private key for {0}")]
    InvalidKey(&'static str),
}

/// A key that can sign, with its `kid` and its public half.
pub struct SigningKey {
    /// The header of every token signed with this key.
    pub header: Header,
    /// Signs tokens.
    pub encoding_key: EncodingKey,
    /// Verifies tokens.
    pub decoding_key: DecodingKey,
    /// The public half as a JWK. `None` for a shared secret.
    pub public_jwk: Option<Value>,
}

impl SigningKey {
    /// Parses the key, and checks it by signing. The default `kid` is its thumbprint
    /// ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)), or for a shared secret a MAC made with it.
    pub fn new(algorithm: Algorithm, key: &Secret, kid: Option<&str>) -> Result<Self, KeyError> {
        let text = key.reveal().as_bytes();
        let not_a_key = |_| KeyError::InvalidKey(algorithm_name(algorithm));
        let (alg, key) = match algorithm {
            Algorithm::Hs256 => {
                if text.len() < MIN_HS256_BYTES {
                    return Err(KeyError::TooShort(text.len()));
                }
                (
                    jsonwebtoken::Algorithm::HS256,
                    EncodingKey::from_secret(text),
                )
            }
            Algorithm::Rs256 => (
                jsonwebtoken::Algorithm::RS256,
                EncodingKey::from_rsa_pem(text).map_err(not_a_key)?,
            ),
            Algorithm::Es256 => (
                jsonwebtoken::Algorithm::ES256,
                EncodingKey::from_ec_pem(text).map_err(not_a_key)?,
            ),
            Algorithm::EdDsa => (
                jsonwebtoken::Algorithm::EdDSA,
                EncodingKey::from_ed_pem(text).map_err(not_a_key)?,
            ),
        };
        let (own_name, verifying, public) = if algorithm == Algorithm::Hs256 {
            (secret_kid(text), DecodingKey::from_secret(text), None)
        } else {
            let jwk = Jwk::from_encoding_key(&key, alg).map_err(not_a_key)?;
            let name = thumbprint(&jwk).ok_or(KeyError::InvalidKey(algorithm_name(algorithm)))?;
            let verifying = DecodingKey::from_jwk(&jwk).map_err(not_a_key)?;
            (name, verifying, Some(jwk))
        };
        let kid = kid.map_or(own_name, str::to_owned);
        let public = public.map(|mut jwk| {
            jwk.common.key_id = Some(kid.clone());
            jwk.common.public_key_use = Some(PublicKeyUse::Signature);
            json!(jwk)
        });
        let mut header = Header::new(alg);
        header.kid = Some(kid);
        jsonwebtoken::encode(&header, &json!({}), &key).map_err(not_a_key)?;
        Ok(Self {
            header,
            encoding_key: key,
            decoding_key: verifying,
            public_jwk: public,
        })
    }

    /// The key's `kid`.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.header.kid.as_deref().unwrap_or_default()
    }
}

const fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Hs256 => "HS256",
        Algorithm::Rs256 => "RS256",
        Algorithm::Es256 => "ES256 (curve P-256)",
        Algorithm::EdDsa => "EdDSA (Ed25519)",
    }
}

/// The `kid` of a shared secret. As a MAC it reveals no more of the secret than any signature does.
fn secret_kid(secret: &[u8]) -> String {
    let tag = Hmac::<Sha256>::new_from_slice(secret)
        .map(|mac| mac.chain_update(b"berth kid").finalize().into_bytes())
        .unwrap_or_default();
    URL_SAFE_NO_PAD.encode(tag.iter().copied().take(9).collect::<Vec<_>>())
}

/// The JWK thumbprint: SHA-256 over the required members in lexicographic order
/// ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638), and for Ed25519
/// [RFC 8037, appendix A.3](https://www.rfc-editor.org/rfc/rfc8037#appendix-A.3)).
fn thumbprint(jwk: &Jwk) -> Option<String> {
    let members = match &jwk.algorithm {
        AlgorithmParameters::RSA(p) => json!({"e": p.e, "kty": "RSA", "n": p.n}),
        AlgorithmParameters::EllipticCurve(p) => {
            json!({"crv": p.curve, "kty": "EC", "x": p.x, "y": p.y})
        }
        AlgorithmParameters::OctetKeyPair(p) => json!({"crv": p.curve, "kty": "OKP", "x": p.x}),
        _ => return None,
    };
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(members.to_string())))
}
