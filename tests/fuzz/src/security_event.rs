//! A complete security event token, and its claims alone, since random bytes are rarely base64url. Accepted tokens
//! have bounded names, a known algorithm and at least one event. Every fault has an error code of RFC 8935.
use berth_placement::events::security_events::SetError;
use berth_placement::events::security_events::set::{Claims, UnverifiedSet};
use berth_placement::events::webhooks::caep::ERROR_CODES;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    match UnverifiedSet::parse(data) {
        Ok(set) => {
            let algorithm = format!("{:?}", set.jws.algorithm);
            assert!(!algorithm.starts_with("HS"));
            assert!(set.jws.kid.is_none_or(|kid| kid.len() <= 1024));
            assert_eq!(
                format!("{}.{}", set.jws.message, set.jws.signature).as_bytes(),
                data
            );
            check_claims(Ok(set.claims));
        }
        Err(error) => check_claims(Err(error)),
    }
    check_claims(Claims::parse(data));
}

fn check_claims(claims: Result<Claims, SetError>) {
    match claims {
        Ok(claims) => {
            assert!((1..=1024).contains(&claims.id.len()));
            assert!(!claims.events.is_empty());
            assert!(claims.issued_at < 253_402_300_800);
        }
        Err(error) => assert!(ERROR_CODES.contains(&error.code)),
    }
}
