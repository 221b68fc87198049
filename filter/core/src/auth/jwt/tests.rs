//! Verification of tokens where a test needs the clock or keys of its own. The case table has one token for every
//! other way to fail.

use super::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SECRET: &[u8] = b"a-secret-of-thirty-two-bytes-or-more";
const LEEWAY_S: u32 = 5;

fn keys() -> Keys {
    let key = Key::from_secret(None, SECRET).unwrap();
    Keys::new(vec![key], "berth", "engine", LEEWAY_S)
}

fn signed(claims: &Value) -> String {
    encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(SECRET),
    )
    .unwrap()
}

fn jwk(name: &str) -> Value {
    let text = include_str!("../../../../../tests/fixtures/filter/tokens.json");
    serde_json::from_str::<Value>(text).unwrap()["keys"][name].clone()
}

#[test]
fn times_are_compared_with_leeway() {
    let now = get_current_timestamp();
    let verify = |exp: u64, nbf: u64| {
        let claims = json!({"iss": "berth", "aud": "engine", "exp": exp, "nbf": nbf});
        keys().verify(&signed(&claims)).map(drop)
    };
    assert_eq!(verify(now + 60, now), Ok(()));
    assert_eq!(verify(now - 2, now), Ok(()));
    assert_eq!(verify(now + 60, now + 3), Ok(()));
    assert_eq!(
        verify(now - 10, now - 60),
        Err(TokenError::Invalid("ExpiredSignature".into()))
    );
    assert_eq!(
        verify(now + 60, now + 30),
        Err(TokenError::Invalid("ImmatureSignature".into()))
    );
}

#[test]
fn a_token_for_an_unknown_key_has_its_own_error() {
    let claims = json!({"iss": "berth", "aud": "engine", "exp": get_current_timestamp() + 60});
    let named = Key::from_secret(Some("a".into()), SECRET).unwrap();
    let keys = Keys::new(vec![named], "berth", "engine", LEEWAY_S);
    let header = |kid: &str| Header {
        kid: Some(kid.into()),
        ..Header::default()
    };
    let token = |kid| encode(&header(kid), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    assert!(keys.verify(&token("a")).is_ok());
    assert_eq!(keys.verify(&token("b")), Err(TokenError::UnknownKey));
    assert!(keys.verify(&signed(&claims)).is_ok());
}

#[test]
fn fetched_keys_replace_fetched_keys_and_keep_configured_ones() {
    let count = |keys: &Keys| keys.keys.len();
    let rs = Key::from_jwk(jwk("rs")).unwrap();
    let es = Key::from_jwk(jwk("es")).unwrap();
    let first = keys().with_fetched(vec![rs]);
    assert_eq!(count(&first), 2);
    let second = first.with_fetched(vec![es.clone(), es]);
    assert_eq!(count(&second), 3);
    assert_eq!(count(&second.with_fetched(Vec::new())), 1);
}

#[test]
fn keys_of_a_wrong_type_or_size_are_refused() {
    for name in ["rs", "es", "ed"] {
        assert!(Key::from_jwk(jwk(name)).is_ok(), "{name}");
    }
    let with_field = |name: &str, field: &str, value: Value| {
        let mut jwk = jwk(name);
        jwk[field] = value;
        Key::from_jwk(jwk).err().unwrap_or("accepted")
    };
    assert!(with_field("rs", "alg", json!("RS512")).contains("alg"));
    assert!(with_field("rs", "alg", json!("HS256")).contains("alg"));
    assert!(with_field("rs", "n", json!("AQAB")).contains("size"));
    assert!(with_field("rs", "n", json!("A".repeat(2000))).contains("size"));
    assert!(with_field("rs", "e", json!("A".repeat(400))).contains("size"));
    assert!(with_field("es", "crv", json!("P-384")).contains("unsupported type"));
    assert!(with_field("es", "x", json!("AAAA")).contains("size"));
    assert!(with_field("ed", "x", json!("")).contains("size"));
    assert!(with_field("ed", "x", json!("!".repeat(43))).contains("malformed"));
    assert!(with_field("ed", "kty", json!("new")).contains("unsupported type"));
    assert!(Key::from_jwk(json!(7)).is_err());
    assert!(Key::from_jwk(json!({"kty": "oct", "k": "c2hvcnQ"})).is_err());
}

#[test]
fn a_degenerate_key_verifies_nothing_and_does_not_panic() {
    let fixture = include_str!("../../../../../tests/fixtures/filter/tokens.json");
    let fixture: Value = serde_json::from_str(fixture).unwrap();
    let zeros = |n: usize| json!("A".repeat(n));
    for (name, field, value) in [
        ("es", "x", zeros(43)),
        ("ed", "x", zeros(43)),
        ("rs", "n", zeros(342)),
        ("rs", "e", json!("AA")),
    ] {
        let mut jwk = jwk(name);
        jwk[field] = value;
        let key = Key::from_jwk(jwk).unwrap();
        let keys = Keys::new(vec![key], "berth", "engine", LEEWAY_S);
        let token = fixture["tokens"][name].as_str().unwrap();
        assert!(keys.verify(token).is_err(), "{name}");
    }
}

#[test]
fn a_verified_token_is_valid_until_it_expires() {
    let now = get_current_timestamp();
    let keys = keys();
    let claims = |exp: u64| json!({"iss": "berth", "aud": "engine", "exp": exp});
    let token = signed(&claims(now + 60));
    assert!(keys.verify(&token).is_ok());
    assert!(keys.verify(&token).is_ok());
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert!(keys.verify(&forged).is_err());
    // Cached before it expired: `exp` counts, not the cache.
    let expired = signed(&claims(now - 60));
    let claims = VerifiedClaims {
        expires_at: now - 60,
        has_session: false,
        roles: Rc::default(),
    };
    keys.verified.borrow_mut().insert(&expired, claims);
    assert!(keys.verify(&expired).is_err());
}

#[test]
fn a_session_token_is_recognised_verified_and_cached() {
    let exp = get_current_timestamp() + 60;
    let keys = keys();
    for (sid, has_session) in [
        (json!("ref"), true),
        // The filter does not check the value: the service will not know this session.
        (json!(7), true),
        (Value::Null, false),
    ] {
        let claims = json!({"iss": "berth", "aud": "engine", "exp": exp, "sid": sid});
        let token = signed(&claims);
        let claims = VerifiedClaims {
            expires_at: exp,
            has_session,
            roles: Rc::default(),
        };
        assert_eq!(keys.verify(&token), Ok(claims.clone()), "{sid}");
        assert_eq!(keys.verify(&token), Ok(claims), "{sid}, cached");
    }
}

#[test]
fn tokens_of_a_removed_key_fail() {
    let fetched = Key::from_secret(None, SECRET).unwrap();
    let no_keys = Keys::new(vec![], "berth", "engine", LEEWAY_S);
    let keys = no_keys.with_fetched(vec![fetched]);
    let token =
        signed(&json!({"iss": "berth", "aud": "engine", "exp": get_current_timestamp() + 60}));
    assert!(keys.verify(&token).is_ok());
    assert_eq!(
        keys.with_fetched(vec![]).verify(&token),
        Err(TokenError::UnknownKey)
    );
}

#[test]
fn errors_quote_tokens_escaped_and_shortened() {
    let header = json!({"alg": "x\n".repeat(5_000)}).to_string();
    let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
    let error = keys().verify(&token).unwrap_err().to_string();
    assert!(error.contains("x\\nx") && !error.contains('\n'), "{error}");
    assert!(error.len() < 2_000, "{error}");
}

#[test]
fn roles_are_a_list_of_texts_or_none() {
    let exp = get_current_timestamp() + 60;
    let keys = keys();
    for (roles, expected) in [
        (json!(["admin", "user"]), vec!["admin", "user"]),
        (json!([]), vec![]),
        (json!("admin"), vec![]),
        (json!(["admin", 7]), vec![]),
        (json!({"admin": true}), vec![]),
        (Value::Null, vec![]),
    ] {
        let token = signed(&json!({"iss": "berth", "aud": "engine", "exp": exp, "roles": roles}));
        let found = keys.verify(&token).unwrap().roles;
        assert_eq!(found.to_vec(), expected, "{roles}");
    }
}
