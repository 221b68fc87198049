//! A session as a store keeps it: the fields of a row, one `name=value` per line, or a JWT of another service. Reading
//! gives a session that this binary understands, or an error.
use berth_store::redis::session_from;
use berth_store::redis_jwt::{self, JwtRules, StoredJwt};
use berth_store::session_id::IdHash;
use berth_store::{PAYLOAD_VERSION, StoreError};
use std::collections::HashMap;
use std::time::Duration;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (id, rest) = text.split_once('\n').unwrap_or(("", text));
    let lines = rest.lines().filter_map(|line| line.split_once('='));
    let fields: HashMap<_, _> = lines
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    match session_from(id, &fields) {
        Ok(row) => {
            assert!(row.payload_version <= PAYLOAD_VERSION);
            assert!(row.ends_at_ms() <= row.absolute_expiry_ms);
            assert!(row.provider.is_some() == fields.contains_key("provider"));
        }
        Err(StoreError::Data(error)) => assert!(!error.is_empty()),
        Err(other) => panic!("a row is no reason for {other:?}"),
    }
    let rules = JwtRules {
        keys: Vec::new(),
        issuer: None,
        audience: None,
        account_claim: "sub".to_owned(),
        roles_claim: "roles".to_owned(),
        idle_timeout: Duration::from_secs(60),
        absolute_timeout: Duration::from_secs(60),
    };
    let kept = StoredJwt {
        jwt: text,
        now_ms: 1,
        expires_at_ms: None,
    };
    let read = redis_jwt::session_from(&kept, &rules, IdHash([0; 32]), String::new());
    assert!(read.is_err(), "no key, no session");
}
