//! A JWK set that the service fetches from an OpenID provider or a transmitter of security events: verification works
//! with every key that is found, and none accepts an invented signature.
use berth_placement::core::jws::UnverifiedJws;
use berth_placement::events::public_keys::PublicKeys;
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
    for algorithm in ALGORITHMS {
        for kid in [None, Some("k")] {
            let jws = UnverifiedJws {
                algorithm,
                kid: kid.map(str::to_owned),
                typ: None,
                message: "a.b",
                signature: &"A".repeat(86),
                payload: Vec::new(),
            };
            assert!(keys.check_signature(&jws).is_err());
        }
    }
}
