//! A JWK set that the service fetches from an OpenID provider or a transmitter of security events: no shared secret is
//! accepted, and verification works with every key that is found.
use berth_placement::events::remote_keys::PublicKeys;
use jsonwebtoken::Algorithm;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(keys) = PublicKeys::parse(data) else {
        return;
    };
    assert!(keys.find(None, Algorithm::HS256).is_none());
    for algorithm in ALGORITHMS {
        for kid in [None, Some("k")] {
            let Some(key) = keys.find(kid, algorithm) else {
                continue;
            };
            let signature = "A".repeat(86);
            let _ = jsonwebtoken::crypto::verify(&signature, b"a.b", &key, algorithm);
        }
    }
}
