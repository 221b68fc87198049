//! Every algorithm, verified with the published keys; the lifetime of a token; the cache.

use super::*;
use crate::config::{Algorithm, SecretSource};
use crate::core::clock::ManualClock;
use crate::core::secret::Secret;
use crate::sessions::keys::KeyError;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header, jwk::Jwk};
use std::collections::HashSet;

pub(super) const SECRET: &str = "a shared secret of 32 bytes, or more";
pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const RS256: &str = include_str!("../../../tests/keys/rs256.pem");
const ES256: &str = include_str!("../../../tests/keys/es256.pem");
pub(super) const EDDSA: &str = include_str!("../../../tests/keys/eddsa.pem");

pub(super) fn tokens(
    algorithm: Algorithm,
    key: &str,
    kid: Option<&str>,
) -> (Tokens, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(NOW * 1000));
    let key = SigningKey::new(algorithm, &Secret::new(key.to_owned()), kid).unwrap();
    let config = config::Tokens {
        algorithm,
        key: SecretSource::Env("UNUSED".to_owned()),
        kid: None,
        previous: Vec::new(),
        next: Vec::new(),
        issuer: "berth".to_owned(),
        audience: "engine".to_owned(),
        subject: SubjectTemplate::try_from("{name}".to_owned()).unwrap(),
        lifetime: Duration::from_secs(300),
    };
    (Tokens::new(clock.clone(), key, &config), clock)
}

pub(super) fn session(name: &str) -> LiveSession {
    LiveSession {
        account: "demo".to_owned(),
        roles: vec!["user".to_owned()],
        session_ref: name.to_owned(),
        created_at: NOW,
        expires_at: NOW + 36_000,
        ..LiveSession::default()
    }
}

fn claims(token: &str, key: &DecodingKey, algorithm: jsonwebtoken::Algorithm) -> Value {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&["engine"]);
    validation.set_issuer(&["berth"]);
    validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
    // The clock of these tests stands still in the past.
    validation.validate_exp = false;
    decode(token, key, &validation).unwrap().claims
}

#[test]
fn a_shared_secret_signs_and_is_not_published() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let token = tokens.issue(&session("ref")).unwrap();
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let claims = claims(&token.token, &key, jsonwebtoken::Algorithm::HS256);
    let jti = claims["jti"].as_str().unwrap();
    assert_eq!(jti.len(), 22);
    assert_eq!(
        claims,
        json!({"iss": "berth", "aud": "engine", "sub": "demo", "exp": NOW + 300, "nbf": NOW,
               "iat": NOW, "jti": jti, "sid": "ref", "roles": ["user"]})
    );
    assert_eq!(token.expires_at, NOW + 300);
    assert_eq!(tokens.jwks(), json!({"keys": []}));
    let kid = decode_header(&token.token).unwrap().kid.unwrap();
    assert_eq!(kid.len(), 12);
}

#[test]
fn asymmetric_tokens_verify_with_the_published_key() {
    for (algorithm, pem, kty) in [
        (Algorithm::Rs256, RS256, "RSA"),
        (Algorithm::Es256, ES256, "EC"),
        (Algorithm::EdDsa, EDDSA, "OKP"),
    ] {
        let (tokens, _) = tokens(algorithm, pem, None);
        let token = tokens.issue(&session("ref")).unwrap();
        let header = decode_header(&token.token).unwrap();
        let jwks = tokens.jwks();
        let published = &jwks["keys"][0];
        assert_eq!(published["kty"], kty);
        assert_eq!(published["use"], "sig");
        assert_eq!(published["kid"], json!(header.kid));
        assert_eq!(published["alg"], json!(header.alg));
        assert!(published.get("d").is_none(), "a private key is published");
        let jwk: Jwk = serde_json::from_value(published.clone()).unwrap();
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        assert_eq!(claims(&token.token, &key, header.alg)["sub"], "demo");
    }
}

#[test]
fn a_configured_kid_is_used() {
    let (tokens, _) = tokens(Algorithm::EdDsa, EDDSA, Some("2026-11"));
    let token = tokens.issue(&session("ref")).unwrap();
    let kid = decode_header(&token.token).unwrap().kid;
    assert_eq!(kid.as_deref(), Some("2026-11"));
    assert_eq!(tokens.jwks()["keys"][0]["kid"], "2026-11");
}

#[test]
fn the_default_kid_is_the_thumbprint_of_rfc_8037() {
    // The private key of RFC 8037 appendix A.1, as PKCS#8; its thumbprint is in appendix A.3.
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
               -----END PRIVATE KEY-----\n";
    let key = SigningKey::new(Algorithm::EdDsa, &Secret::new(pem.to_owned()), None).unwrap();
    assert_eq!(
        key.header.kid.as_deref(),
        Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
    );
}

#[test]
fn invalid_keys_are_rejected() {
    let refused = |algorithm, text: &str| {
        let key = SigningKey::new(algorithm, &Secret::new(text.to_owned()), None);
        key.err().unwrap()
    };
    assert_eq!(refused(Algorithm::Hs256, "short"), KeyError::TooShort(5));
    for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
        assert!(matches!(
            refused(algorithm, SECRET),
            KeyError::InvalidKey(_)
        ));
    }
    assert!(matches!(
        refused(Algorithm::Rs256, EDDSA),
        KeyError::InvalidKey(_)
    ));
    assert!(matches!(
        refused(Algorithm::EdDsa, ES256),
        KeyError::InvalidKey(_)
    ));
    assert!(matches!(
        refused(Algorithm::Es256, RS256),
        KeyError::InvalidKey(_)
    ));
}

#[test]
fn a_token_is_reused_for_half_its_lifetime() {
    let (tokens, clock) = tokens(Algorithm::Hs256, SECRET, None);
    let first = tokens.issue(&session("ref")).unwrap();
    clock.advance_ms(149_000);
    assert!(tokens.issue(&session("ref")).unwrap() == first);
    clock.advance_ms(1_000);
    let second = tokens.issue(&session("ref")).unwrap();
    assert!(second != first);
    assert_eq!(second.expires_at, NOW + 450);
    tokens.forget("ref");
    assert!(tokens.issue(&session("ref")).unwrap() != second);
}

#[test]
fn no_token_outlives_its_session_or_is_shared_with_another() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let mut short_session = session("short");
    short_session.expires_at = NOW + 100;
    assert_eq!(tokens.issue(&short_session).unwrap().expires_at, NOW + 100);
    let all: HashSet<String> = (0..50)
        .map(|n| {
            tokens
                .issue(&session(&n.to_string()))
                .unwrap()
                .token
                .clone()
        })
        .collect();
    assert_eq!(all.len(), 50);
}

#[test]
fn a_token_of_16_kilobytes_is_issued_and_one_too_large_for_a_header_is_rejected() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let mut large_session = session("ref");
    large_session.roles = (0..700).map(|n| format!("role-number-{n:05}")).collect();
    let length = tokens.issue(&large_session).unwrap().token.len();
    assert!(length > 16 * 1024 && length <= MAX_TOKEN_BYTES);
    let mut too_large_session = session("other");
    too_large_session
        .claims
        .insert("groups".to_owned(), json!("g".repeat(MAX_TOKEN_BYTES)));
    let rejection = tokens.issue(&too_large_session).err().unwrap();
    assert_eq!(rejection.reason, RejectReason::Forbidden);
    let detail = rejection.detail.unwrap();
    assert!(detail.ends_with("bytes, more than 24576: too many roles or claims"));
}

#[test]
fn every_token_has_its_own_jti() {
    let (tokens, clock) = tokens(Algorithm::Hs256, SECRET, None);
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let jti = |token: &str| {
        let claims = claims(token, &key, jsonwebtoken::Algorithm::HS256);
        claims["jti"].as_str().unwrap().to_owned()
    };
    let mut all = HashSet::new();
    for n in 0..100 {
        let name = (n % 10).to_string();
        all.insert(jti(&tokens.issue(&session(&name)).unwrap().token));
        clock.advance_ms(151_000);
    }
    assert_eq!(all.len(), 100);
}

#[test]
fn claims_of_a_session_are_included_and_override_no_reserved_claim() {
    let (tokens, _) = tokens(Algorithm::Hs256, SECRET, None);
    let mut extended_session = session("ref");
    for name in RESERVED_CLAIMS {
        extended_session
            .claims
            .insert(name.to_owned(), json!("forged"));
    }
    let tenant = json!({"id": 7, "groups": ["a", "b"]});
    extended_session
        .claims
        .insert("tenant".to_owned(), tenant.clone());
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    let token = &tokens.issue(&extended_session).unwrap().token;
    let mut token_claims = claims(token, &key, jsonwebtoken::Algorithm::HS256);
    let jti = token_claims["jti"].take();
    assert_eq!(jti.as_str().unwrap().len(), 22);
    assert_eq!(
        token_claims,
        json!({"iss": "berth", "aud": "engine", "sub": "demo", "exp": NOW + 300, "nbf": NOW, "iat": NOW,
               "jti": null, "sid": "ref", "roles": ["user"], "tenant": tenant})
    );
    let payload = token.split('.').nth(1).unwrap();
    let payload = String::from_utf8(URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert!(!payload.contains("forged"), "a reserved claim occurs twice");
}

#[test]
fn during_rotation_tokens_of_either_key_verify_with_published_keys() {
    let signing = |algorithm, pem: &str| {
        SigningKey::new(algorithm, &Secret::new(pem.to_owned()), None).unwrap()
    };
    let old_key = || signing(Algorithm::Es256, ES256);
    let new_key = || signing(Algorithm::EdDsa, EDDSA);
    let (before, _) = tokens(Algorithm::Es256, ES256, None);
    let (after, _) = tokens(Algorithm::EdDsa, EDDSA, None);
    let shared = signing(Algorithm::Hs256, SECRET);
    let before = before.with_other_keys(vec![new_key()]);
    let after = after.with_other_keys(vec![old_key(), shared]);
    let names = |tokens: &Tokens| -> Vec<String> {
        let keys = tokens.jwks()["keys"].as_array().unwrap().clone();
        let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
        keys.iter().map(kid).collect()
    };
    assert_eq!(names(&before), [old_key().kid(), new_key().kid()]);
    assert_eq!(
        names(&after),
        [new_key().kid(), old_key().kid()],
        "no shared secret"
    );
    for (tokens, published) in [(&before, &after), (&after, &before)] {
        let token = &tokens.issue(&session("ref")).unwrap().token;
        let header = decode_header(token).unwrap();
        assert_eq!(header.kid.as_deref(), Some(tokens.key.kid()));
        let keys = published.jwks()["keys"].as_array().unwrap().clone();
        let jwk = keys.into_iter().find(|key| key["kid"] == json!(header.kid));
        let jwk: Jwk = serde_json::from_value(jwk.unwrap()).unwrap();
        let key = DecodingKey::from_jwk(&jwk).unwrap();
        assert_eq!(claims(token, &key, header.alg)["sub"], "demo");
    }
}
