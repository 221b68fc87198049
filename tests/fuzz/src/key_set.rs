//! A JWK set that the service fetches from an OpenID provider or a transmitter of security events: whatever is taken
//! is public, and bounded in number; every key that is found can be asked to verify.
use berth_placement::events::remote_keys::PublicKeys;
use jsonwebtoken::Algorithm;

const ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// One input.
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
