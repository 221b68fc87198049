//! A JWK set (RFC 7517) of another party. Decides which key may verify which algorithm, and verifies signatures. Must
//! not know where the set comes from and what is signed.

use crate::core::jws::UnverifiedJws;
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

/// Maximum number of keys in a JWK set.
const MAX_KEYS: usize = 100;

/// Why no key verifies a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    #[error("no key of that kid and alg is known")]
    UnknownKey,
    #[error("the signature does not verify")]
    Mismatch,
}

/// Why a text is rejected as a JWK set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("not a JWK set (RFC 7517)")]
    Malformed,
    #[error("a JWK set of more than {MAX_KEYS} keys")]
    TooMany,
    #[error("a JWK set without a public key for signatures")]
    NoUsableKey,
}

/// Public keys for signatures. Keys of other kinds are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys(Vec<Jwk>);

/// The members of a JWK that decide whether and how a key verifies. A fault in another member, such as `x5c`, does not
/// make a key unusable.
const USED_MEMBERS: [&str; 10] = [
    "kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y",
];

impl PublicKeys {
    /// Parses a JWK set. Ignores keys of an unknown kind, as [RFC 7517 section 5] requires, and symmetric keys: every
    /// reader of the set could sign with them.
    ///
    /// [RFC 7517 section 5]: https://www.rfc-editor.org/rfc/rfc7517#section-5
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let key_set: Map<String, Value> =
            serde_json::from_slice(text).map_err(|_| KeySetError::Malformed)?;
        let keys = key_set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(KeySetError::Malformed)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys = keys.iter().filter_map(read_key);
        let keys: Vec<Jwk> = keys.filter(is_for_signatures).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoUsableKey);
        }
        Ok(Self(keys))
    }

    /// Verifies a signature with the keys of the token's `kid`, or without a `kid` with each key that can verify its
    /// algorithm.
    pub fn check_signature(&self, jws: &UnverifiedJws<'_>) -> Result<(), SignatureFault> {
        let message = jws.message.as_bytes();
        let mut fault = SignatureFault::UnknownKey;
        for key in self.candidates(jws.kid.as_deref(), jws.algorithm) {
            let outcome = jsonwebtoken::crypto::verify(jws.signature, message, &key, jws.algorithm);
            if outcome.unwrap_or(false) {
                return Ok(());
            }
            fault = SignatureFault::Mismatch;
        }
        Err(fault)
    }

    /// The keys with this id that can verify `algorithm`. Signers that replace a key and keep its id may publish both.
    fn candidates<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = DecodingKey> + 'a {
        let matches_kid = move |key: &&Jwk| kid.is_none() || key.common.key_id.as_deref() == kid;
        let keys = self.0.iter().filter(matches_kid);
        let fitting = keys.filter(move |key| can_verify(key, algorithm));
        fitting.filter_map(|key| DecodingKey::from_jwk(key).ok())
    }
}

fn read_key(value: &Value) -> Option<Jwk> {
    let mut members = value.as_object()?.clone();
    members.retain(|name, _| USED_MEMBERS.contains(&name.as_str()));
    serde_json::from_value(Value::Object(members)).ok()
}

/// Whether a key is a public key for signatures. A symmetric key is not: `has_valid_size` rejects it.
fn is_for_signatures(key: &Jwk) -> bool {
    let operations = key.common.key_operations.as_ref();
    let may_verify =
        operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let key_use = key.common.public_key_use.as_ref();
    may_verify
        && key_use.is_none_or(|key_use| *key_use == PublicKeyUse::Signature)
        && has_valid_size(key)
}

/// Whether a key has the size that its type requires. jsonwebtoken panics on an Ed25519 key that is too short. An
/// unlimited RSA key would make a verification take unlimited time, so RSA keys have 2048 to 8192 bits and an exponent
/// of at most 4 bytes.
fn has_valid_size(key: &Jwk) -> bool {
    let bytes = |base64url: &str| base64url.len() * 3 / 4;
    match &key.algorithm {
        AlgorithmParameters::RSA(key) => {
            (256..=1024).contains(&bytes(&key.n)) && (1..=4).contains(&bytes(&key.e))
        }
        AlgorithmParameters::EllipticCurve(key) => {
            let size = match key.curve {
                EllipticCurve::P256 => 32,
                EllipticCurve::P384 => 48,
                _ => return false,
            };
            bytes(&key.x) == size && bytes(&key.y) == size
        }
        AlgorithmParameters::OctetKeyPair(key) => {
            key.curve == EllipticCurve::Ed25519 && bytes(&key.x) == 32
        }
        _ => false,
    }
}

/// Whether a key can verify `algorithm`, by its type, its curve and its own `alg` if it has one.
fn can_verify(key: &Jwk, algorithm: Algorithm) -> bool {
    let by_type = match (&key.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(_),
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512,
        ) => true,
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES256) => {
            key.curve == EllipticCurve::P256
        }
        (AlgorithmParameters::EllipticCurve(key), Algorithm::ES384) => {
            key.curve == EllipticCurve::P384
        }
        (AlgorithmParameters::OctetKeyPair(key), Algorithm::EdDSA) => {
            key.curve == EllipticCurve::Ed25519
        }
        _ => false,
    };
    let declared_algorithm = key.common.key_algorithm;
    by_type
        && declared_algorithm
            .is_none_or(|declared_algorithm| declared_algorithm == KeyAlgorithm::from(algorithm))
}

#[cfg(test)]
pub(in crate::events) mod tests;
