//! Which bearer tokens are accepted.

use super::super::tests::{EDDSA, NOW, RS256, SECRET, session, tokens};
use super::*;
use crate::config::Algorithm;
use crate::core::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::redis_jwt::JwtKey;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

fn claims() -> Value {
    json!({"iss": "berth", "aud": "engine", "sub": "robot", "exp": NOW + 60, "roles": ["batch"]})
}

fn signed_with(secret: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), claims, &key).unwrap()
}

fn fault(tokens: &Tokens, token: &str) -> String {
    let rejection = tokens.verify(token).unwrap_err();
    assert_eq!(rejection.reason, RejectReason::BearerInvalid);
    rejection.detail.unwrap()
}

#[test]
fn a_valid_token_yields_its_claims() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let bearer = tokens.verify(&signed_with(SECRET, &claims())).unwrap();
    assert_eq!(
        (bearer.subject.as_str(), bearer.expires_at),
        ("robot", NOW + 60)
    );
    assert_eq!(
        (bearer.roles, bearer.session_ref),
        (vec!["batch".to_owned()], None)
    );
    let mut many_claims = claims();
    many_claims["aud"] = json!(["other", "engine"]);
    many_claims["roles"] = Value::Null;
    many_claims.as_object_mut().unwrap().remove("roles");
    assert!(
        tokens
            .verify(&signed_with(SECRET, &many_claims))
            .unwrap()
            .roles
            .is_empty()
    );
}

#[test]
fn issued_tokens_of_every_algorithm_are_accepted() {
    for (algorithm, key) in [
        (Algorithm::Hs256, SECRET),
        (Algorithm::Rs256, RS256),
        (Algorithm::EdDsa, EDDSA),
    ] {
        let (tokens, _) = tokens(algorithm, key, None);
        let token = tokens.issue(&session("ref")).unwrap();
        let bearer = tokens.verify(&token.token).unwrap();
        assert_eq!(bearer.session_ref.as_deref(), Some("ref"));
        assert_eq!(
            (bearer.subject.as_str(), bearer.expires_at),
            ("demo", NOW + 300)
        );
    }
}

#[test]
fn times_are_checked_by_the_services_clock_within_the_leeway() {
    let (tokens, clock) = tokens(Algorithm::Hs256, SECRET, None);
    let token = signed_with(SECRET, &claims());
    clock.advance_ms((60 + LEEWAY_S) * 1000);
    assert!(tokens.verify(&token).is_ok());
    clock.advance_ms(1000);
    assert_eq!(fault(&tokens, &token), "expired");
    let mut future = claims();
    future["exp"] = json!(NOW + 600);
    future["nbf"] = json!(NOW + 60 + 2 * LEEWAY_S + 2);
    assert_eq!(
        fault(&tokens, &signed_with(SECRET, &future)),
        "not valid yet"
    );
    clock.advance_ms(1000);
    assert!(tokens.verify(&signed_with(SECRET, &future)).is_ok());
}

#[test]
fn every_other_fault_is_reported_without_the_token() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let mut cases = vec![
        (
            "another key",
            signed_with("another secret of 32 bytes, or more", &claims()),
        ),
        ("no JWT", "abc".to_owned()),
        ("empty", String::new()),
        ("too long", "a".repeat(MAX_TOKEN_BYTES + 1)),
        ("tampered", format!("{}A", signed_with(SECRET, &claims()))),
    ];
    for (field, value) in [
        ("iss", json!("other")),
        ("aud", json!("other")),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("exp", json!("soon")),
        ("iss", Value::Null),
        ("aud", Value::Null),
        ("exp", Value::Null),
        ("sub", Value::Null),
    ] {
        let mut claims = claims();
        let fields = claims.as_object_mut().unwrap();
        match value {
            Value::Null => drop(fields.remove(field)),
            value => drop(fields.insert(field.to_owned(), value)),
        }
        cases.push((field, signed_with(SECRET, &claims)));
    }
    let kid = Header {
        kid: Some("another".to_owned()),
        ..Header::default()
    };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    cases.push(("kid", encode(&kid, &claims(), &key).unwrap()));
    let (rs256, _) = super::super::tests::tokens(Algorithm::Rs256, RS256, None);
    cases.push(("alg", rs256.issue(&session("r")).unwrap().token.clone()));
    for (description, token) in cases {
        let fault = fault(&tokens, &token);
        assert!(
            !fault.is_empty() && !fault.contains("eyJ"),
            "{description}: {fault}"
        );
    }
}

#[test]
fn quotes_from_a_token_are_short_and_escaped() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let header = json!({"alg": "x\n".repeat(5_000)}).to_string();
    let token = format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(header));
    let fault = fault(&tokens, &token);
    assert!(fault.contains("x\\nx") && !fault.contains('\n'), "{fault}");
    assert!(fault.len() < 2_000, "{fault}");
}

#[test]
fn a_public_key_is_not_accepted_as_a_shared_secret() {
    let (tokens, _) = tokens(Algorithm::Rs256, RS256, None);
    let jwk = tokens.jwks()["keys"][0].clone();
    let kid = jwk["kid"].as_str().map(str::to_owned);
    for secret in [jwk["n"].as_str().unwrap().to_owned(), jwk.to_string()] {
        let header = Header {
            kid: kid.clone(),
            ..Header::default()
        };
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = encode(&header, &claims(), &key).unwrap();
        assert_eq!(fault(&tokens, &token), "no key matches it");
    }
}

#[test]
fn tokens_of_previous_and_next_keys_are_accepted() {
    let (now, _) = tokens(Algorithm::Hs256, SECRET, Some("now"));
    let key = |algorithm, text: &str, kid: &str| {
        SigningKey::new(algorithm, &Secret::new(text.to_owned()), Some(kid)).unwrap()
    };
    let now = now.with_other_keys(vec![
        key(Algorithm::Hs256, &SECRET.repeat(2), "before"),
        key(Algorithm::EdDsa, EDDSA, "next"),
    ]);
    for (algorithm, text, kid) in [
        (Algorithm::Hs256, SECRET.repeat(2), "before"),
        (Algorithm::EdDsa, EDDSA.to_owned(), "next"),
    ] {
        let (other, _) = tokens(algorithm, &text, Some(kid));
        let token = &other.issue(&session("ref")).unwrap().token;
        assert_eq!(now.verify(token).unwrap().subject, "demo", "{kid}");
    }
    let (previous_key_tokens, _) = tokens(Algorithm::Rs256, RS256, Some("before"));
    let token = &previous_key_tokens.issue(&session("ref")).unwrap().token;
    assert_eq!(fault(&now, token), "no key matches it");
}

#[test]
fn a_token_of_another_login_service_yields_its_account_and_expiry() {
    let secret = b"the secret of another login service";
    let rules = JwtRules {
        keys: vec![JwtKey {
            algorithm: jsonwebtoken::Algorithm::HS256,
            kid: None,
            key: jsonwebtoken::DecodingKey::from_secret(secret),
        }],
        issuer: None,
        audience: None,
        account_claim: "name".to_owned(),
        roles_claim: "roles".to_owned(),
        idle_timeout: std::time::Duration::from_secs(60),
        absolute_timeout: std::time::Duration::from_secs(1000),
    };
    let read_claims = |claims: Value, now_s: u64| {
        let key = EncodingKey::from_secret(secret);
        let token = encode(&Header::default(), &claims, &key).unwrap();
        BearerClaims::verify_with(&token, &rules, now_s * 1000)
    };
    let ada = json!({"name": "ada", "roles": "admin", "sid": "s", "iat": 5000});
    let bearer = read_claims(ada.clone(), 5999).unwrap();
    assert_eq!((bearer.subject.as_str(), bearer.expires_at), ("ada", 6000));
    assert_eq!(
        (bearer.roles, bearer.session_ref),
        (vec!["admin".to_owned()], None)
    );
    assert_eq!(read_claims(ada, 6000), None);
    let short_lived = json!({"name": "ada", "iat": 5000, "exp": 5010});
    assert_eq!(
        read_claims(short_lived.clone(), 5009).unwrap().expires_at,
        5010
    );
    assert_eq!(read_claims(short_lived, 5010), None);
    assert_eq!(BearerClaims::verify_with("a.b.c", &rules, 0), None);
    assert_eq!(
        BearerClaims::verify_with(&"a".repeat(MAX_TOKEN_BYTES + 1), &rules, 0),
        None
    );
}
