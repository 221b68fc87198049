//! What a token must be. The case table has one token for each way to be wrong; here is what needs
//! the clock or keys of its own.

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
    let text = include_str!("../../../tests/fixtures/filter/tokens.json");
    serde_json::from_str::<Value>(text).unwrap()["keys"][name].clone()
}

#[test]
fn times_count_within_the_leeway() {
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
        Err(TokenFault::Invalid("ExpiredSignature".into()))
    );
    assert_eq!(
        verify(now + 60, now + 30),
        Err(TokenFault::Invalid("ImmatureSignature".into()))
    );
}

#[test]
fn a_token_for_a_key_that_is_not_there_says_so() {
    let claims = json!({"iss": "berth", "aud": "engine", "exp": get_current_timestamp() + 60});
    let named = Key::from_secret(Some("a".into()), SECRET).unwrap();
    let keys = Keys::new(vec![named], "berth", "engine", LEEWAY_S);
    let header = |kid: &str| Header {
        kid: Some(kid.into()),
        ..Header::default()
    };
    let token = |kid| encode(&header(kid), &claims, &EncodingKey::from_secret(SECRET)).unwrap();
    assert!(keys.verify(&token("a")).is_ok());
    assert_eq!(keys.verify(&token("b")), Err(TokenFault::UnknownKey));
    assert!(keys.verify(&signed(&claims)).is_ok());
}

#[test]
fn fetched_keys_replace_fetched_keys_and_leave_the_configured_ones() {
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
fn only_keys_of_the_right_kind_and_size_are_taken() {
    for name in ["rs", "es", "ed"] {
        assert!(Key::from_jwk(jwk(name)).is_ok(), "{name}");
    }
    let changed = |name: &str, field: &str, value: Value| {
        let mut jwk = jwk(name);
        jwk[field] = value;
        Key::from_jwk(jwk).err().unwrap_or("taken")
    };
    assert!(changed("rs", "alg", json!("RS512")).contains("alg"));
    assert!(changed("rs", "alg", json!("HS256")).contains("alg"));
    assert!(changed("rs", "n", json!("AQAB")).contains("size"));
    assert!(changed("rs", "n", json!("A".repeat(2000))).contains("size"));
    assert!(changed("rs", "e", json!("A".repeat(400))).contains("size"));
    assert!(changed("es", "crv", json!("P-384")).contains("kind"));
    assert!(changed("es", "x", json!("AAAA")).contains("size"));
    assert!(changed("ed", "x", json!("")).contains("size"));
    assert!(changed("ed", "x", json!("!".repeat(43))).contains("cannot be read"));
    assert!(changed("ed", "kty", json!("new")).contains("kind"));
    assert!(Key::from_jwk(json!(7)).is_err());
    assert!(Key::from_jwk(json!({"kty": "oct", "k": "c2hvcnQ"})).is_err());
}

#[test]
fn a_key_that_is_no_point_or_no_modulus_refuses_and_does_no_harm() {
    let fixture = include_str!("../../../tests/fixtures/filter/tokens.json");
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
fn a_token_that_was_good_is_good_until_its_end() {
    let now = get_current_timestamp();
    let keys = keys();
    let claims = |exp: u64| json!({"iss": "berth", "aud": "engine", "exp": exp});
    let good = signed(&claims(now + 60));
    assert!(keys.verify(&good).is_ok());
    assert!(keys.verify(&good).is_ok());
    let forged = format!("{}x", &good[..good.len() - 1]);
    assert!(keys.verify(&forged).is_err());
    // As remembered from before its end: the end counts, not the memory.
    let old = signed(&claims(now - 60));
    let good = Good {
        until: now - 60,
        session: false,
    };
    keys.verified.borrow_mut().note(&old, good);
    assert!(keys.verify(&old).is_err());
}

#[test]
fn a_token_of_a_session_says_so_every_time() {
    let exp = get_current_timestamp() + 60;
    let keys = keys();
    for (sid, session) in [
        (json!("ref"), true),
        // Which one is not the filter's to know: whoever is asked of it will not know this one.
        (json!(7), true),
        (Value::Null, false),
    ] {
        let claims = json!({"iss": "berth", "aud": "engine", "exp": exp, "sid": sid});
        let token = signed(&claims);
        let good = Good {
            until: exp,
            session,
        };
        assert_eq!(keys.verify(&token), Ok(good), "{sid}");
        assert_eq!(keys.verify(&token), Ok(good), "{sid}, remembered");
    }
}

#[test]
fn keys_that_go_take_their_tokens_along() {
    let fetched = Key::from_secret(None, SECRET).unwrap();
    let none = Keys::new(vec![], "berth", "engine", LEEWAY_S);
    let keys = none.with_fetched(vec![fetched]);
    let token =
        signed(&json!({"iss": "berth", "aud": "engine", "exp": get_current_timestamp() + 60}));
    assert!(keys.verify(&token).is_ok());
    assert_eq!(
        keys.with_fetched(vec![]).verify(&token),
        Err(TokenFault::UnknownKey)
    );
}

#[test]
fn what_a_token_says_is_repeated_at_no_length() {
    let header = json!({"alg": "x\n".repeat(5_000)}).to_string();
    let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
    let fault = keys().verify(&token).unwrap_err().to_string();
    assert!(fault.contains("x\\nx") && !fault.contains('\n'), "{fault}");
    assert!(fault.len() < 2_000, "{fault}");
}
