//! Valid and invalid JWTs.

use super::*;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

const NOW_MS: u64 = 1_700_000_000_500;
const NOW_S: u64 = 1_700_000_000;
const SECRET: &[u8] = b"the secret of the old login service";

fn rules() -> JwtRules {
    JwtRules {
        keys: vec![JwtKey {
            algorithm: Algorithm::HS256,
            kid: None,
            key: DecodingKey::from_secret(SECRET),
        }],
        issuer: None,
        audience: None,
        account_claim: "sub".to_owned(),
        roles_claim: "roles".to_owned(),
        idle_timeout: Duration::from_secs(60),
        absolute_timeout: Duration::from_secs(3600),
    }
}

fn signed(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    encode(
        &Header::new(algorithm),
        claims,
        &EncodingKey::from_secret(secret),
    )
    .unwrap()
}

fn read(jwt: &str, rules: &JwtRules, ttl_ms: Option<u64>) -> Result<SessionRow, &'static str> {
    let kept = StoredJwt {
        jwt,
        now_ms: NOW_MS,
        expires_at_ms: ttl_ms.map(|ttl| NOW_MS + ttl),
    };
    session_from(&kept, rules, IdHash([1; 32]), "ref".to_owned())
}

fn read_claims(claims: Value) -> Result<SessionRow, &'static str> {
    read(&signed(Algorithm::HS256, SECRET, &claims), &rules(), None)
}

#[test]
fn claims_map_to_session_fields() {
    let row = read_claims(json!({
        "sub": "ann", "roles": ["user"], "iat": NOW_S - 10, "exp": NOW_S + 100, "tenant": "t1",
        "iss": "old", "aud": "engine", "jti": "x", "sid": "y", "nbf": NOW_S - 10,
    }))
    .unwrap();
    assert_eq!(
        (row.account.as_str(), row.roles.as_slice()),
        ("ann", &["user".to_owned()][..])
    );
    assert_eq!(row.created_at_ms, (NOW_S - 10) * 1000);
    assert_eq!(row.absolute_expiry_ms, (NOW_S + 100) * 1000);
    assert_eq!(row.last_seen_at_ms, NOW_MS);
    assert_eq!(Value::Object(row.claims), json!({"tenant": "t1"}));
    let other = JwtRules {
        account_claim: "uid".to_owned(),
        roles_claim: "groups".to_owned(),
        ..rules()
    };
    let claims = json!({"uid": 7, "groups": "admin", "sub": "s", "iat": NOW_S});
    let row = read(&signed(Algorithm::HS256, SECRET, &claims), &other, None).unwrap();
    assert_eq!(
        (row.account.as_str(), row.roles.as_slice()),
        ("7", &["admin".to_owned()][..])
    );
}

#[test]
fn the_session_expires_at_the_earliest_of_three_times() {
    let end = |claims: Value, ttl_ms| {
        let jwt = signed(Algorithm::HS256, SECRET, &claims);
        read(&jwt, &rules(), ttl_ms).unwrap().absolute_expiry_ms
    };
    let jwt = json!({"sub": "a", "iat": NOW_S, "exp": NOW_S + 50});
    assert_eq!(end(jwt.clone(), None), (NOW_S + 50) * 1000);
    assert_eq!(end(jwt.clone(), Some(60_000)), (NOW_S + 50) * 1000);
    assert_eq!(end(jwt, Some(1_000)), NOW_MS + 1_000);
    let without_exp = json!({"sub": "a", "iat": NOW_S});
    assert_eq!(end(without_exp.clone(), None), (NOW_S + 3_600) * 1000);
    assert_eq!(end(without_exp, Some(9)), NOW_MS + 9);
    let without_iat = json!({"sub": "a", "exp": NOW_S * 2});
    assert_eq!(end(without_iat, None), NOW_MS + 3_600_000);
    let long = json!({"sub": "a", "iat": NOW_S - 3_590, "exp": NOW_S * 2});
    assert_eq!(end(long, None), (NOW_S + 10) * 1000);
    let over = json!({"sub": "a", "exp": NOW_S - 1});
    assert_eq!(
        end(over, None),
        (NOW_S - 1) * 1000,
        "an expired session is still returned"
    );
}

#[test]
fn every_invalid_jwt_has_its_own_error() {
    let unverified = "no configured key, issuer and audience verify it";
    let claims = json!({"sub": "a"});
    for (jwt, fault) in [
        ("", "not a JWT"),
        ("a.b.c", "not a JWT"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.", "not a JWT"),
        (&signed(Algorithm::HS256, b"another", &claims), unverified),
        (&signed(Algorithm::HS384, SECRET, &claims), unverified),
    ] {
        assert_eq!(read(jwt, &rules(), None), Err(fault), "{jwt}");
    }
    for (claims, fault) in [
        (json!({"sub": "a"}), "the JWT has neither exp nor iat"),
        (json!({"iat": NOW_S}), "the account claim is not a name"),
        (
            json!({"sub": "", "iat": NOW_S}),
            "the account claim is not a name",
        ),
        (
            json!({"sub": "a", "roles": {}, "iat": NOW_S}),
            "the roles claim is not a list of names",
        ),
        (
            json!({"sub": "a", "exp": "soon"}),
            "a time claim is not a number of seconds",
        ),
        (
            json!({"sub": "a", "nbf": NOW_S + 9}),
            "the JWT is not valid yet",
        ),
    ] {
        assert_eq!(read_claims(claims.clone()), Err(fault), "{claims}");
    }
}

#[test]
fn issuer_audience_and_key_id_are_checked_if_configured() {
    let mut rules = rules();
    rules.issuer = Some("old".to_owned());
    rules.audience = Some("engine".to_owned());
    let verdict = |rules: &JwtRules, claims: Value| {
        let jwt = signed(Algorithm::HS256, SECRET, &claims);
        read(&jwt, rules, None).is_ok()
    };
    let good = json!({"sub": "a", "iat": NOW_S, "iss": "old", "aud": ["x", "engine"]});
    assert!(verdict(&rules, good.clone()));
    assert!(!verdict(
        &rules,
        json!({"sub": "a", "iat": NOW_S, "iss": "old"})
    ));
    assert!(!verdict(
        &rules,
        json!({"sub": "a", "iat": NOW_S, "aud": "engine"})
    ));
    assert!(!verdict(
        &rules,
        json!({"sub": "a", "iat": NOW_S, "iss": "new", "aud": "engine"})
    ));
    rules.keys[0].kid = Some("k1".to_owned());
    assert!(!verdict(&rules, good), "the JWT has no kid");
}
