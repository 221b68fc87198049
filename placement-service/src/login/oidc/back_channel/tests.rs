//! Each check in isolation: a token that fails only this check is rejected with the fault of this check.

use super::*;
use crate::config::Algorithm;
use crate::core::secret::Secret;
use crate::events::public_keys::PublicKeys;
use crate::sessions::keys::SigningKey;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header as JwtHeader};
use serde_json::json;

const ISSUER: &str = "https://id.example";
const NOW_S: u64 = 1_000_000;

fn key(algorithm: Algorithm) -> SigningKey {
    let pem = match algorithm {
        Algorithm::Rs256 => include_str!("../../../../tests/keys/rs256.pem"),
        Algorithm::Es256 => include_str!("../../../../tests/keys/es256.pem"),
        _ => include_str!("../../../../tests/keys/eddsa.pem"),
    };
    SigningKey::new(algorithm, &Secret::new(pem.to_owned()), Some("k")).unwrap()
}

fn keys(signers: &[&SigningKey]) -> PublicKeys {
    let public: Vec<_> = signers.iter().map(|key| &key.public_jwk).collect();
    PublicKeys::parse(&serde_json::to_vec(&json!({ "keys": public })).unwrap()).unwrap()
}

fn provider() -> OidcProvider {
    serde_json::from_value(json!({
        "name": "idp", "issuer": ISSUER, "client_id": "berth", "roles": {},
        "trusted_audiences": ["project"],
    }))
    .unwrap()
}

/// Signs a logout token.
fn sign(key: &SigningKey, claims: &Value) -> String {
    let mut header = key.header.clone();
    header.typ = Some("logout+jwt".to_owned());
    jsonwebtoken::encode(&header, claims, &key.encoding_key).unwrap()
}

fn parse(token: &str) -> Result<LogoutToken<'_>, LogoutFault> {
    LogoutToken::parse(token, LogoutTokenType::Required)
}

fn signature_fault(keys: &PublicKeys, token: &LogoutToken<'_>) -> Option<LogoutFault> {
    keys.check_signature(&token.jws)
        .err()
        .map(LogoutFault::from)
}

fn valid_claims() -> Value {
    json!({"iss": ISSUER, "aud": "berth", "iat": NOW_S, "exp": NOW_S + 120, "jti": "j", "sub": "u",
        "sid": "s", "events": {EVENT: {}}})
}

fn check(claims: &Value) -> Result<LogoutClaims, LogoutFault> {
    let key = key(Algorithm::Es256);
    let token = sign(&key, claims);
    let parsed = parse(&token)?;
    keys(&[&key]).check_signature(&parsed.jws)?;
    parsed.check_claims(&provider(), NOW_S * 1000)
}

fn check_with(name: &str, value: Value) -> Result<LogoutClaims, LogoutFault> {
    let mut claims = valid_claims();
    claims[name] = value;
    check(&claims)
}

fn check_without(name: &str) -> Result<LogoutClaims, LogoutFault> {
    let mut claims = valid_claims();
    claims.as_object_mut().unwrap().remove(name);
    check(&claims)
}

#[test]
fn a_valid_token_identifies_subject_and_session() {
    let claims = check(&valid_claims()).unwrap();
    assert_eq!(
        (claims.subject.as_deref(), claims.session.as_deref()),
        (Some("u"), Some("s"))
    );
    assert_eq!(claims.jti, "j");
    assert_eq!(claims.remember_until_ms, (NOW_S + 330) * 1000);
    assert_eq!(check_without("sub").unwrap().subject, None);
    assert_eq!(check_without("sid").unwrap().session, None);
    assert!(check_with("aud", json!(["project", "berth"])).is_ok());
    assert!(check_with("iat", json!(NOW_S as f64 + 0.5)).is_ok());
}

#[test]
fn each_claim_is_checked() {
    for (name, value, fault) in [
        ("iss", json!("https://evil.example"), LogoutFault::Issuer),
        ("aud", json!("other"), LogoutFault::Audience),
        ("aud", json!(["other", "berth"]), LogoutFault::Audience),
        ("aud", json!([]), LogoutFault::Audience),
        ("aud", json!({"berth": 1}), LogoutFault::Audience),
        ("iat", json!(NOW_S - 301), LogoutFault::IssuedAt),
        ("iat", json!(NOW_S + 31), LogoutFault::IssuedAt),
        ("iat", json!("now"), LogoutFault::IssuedAt),
        ("iat", json!(-1), LogoutFault::IssuedAt),
        ("iat", json!(1e300), LogoutFault::IssuedAt),
        ("exp", json!(NOW_S - 30), LogoutFault::Expired),
        ("exp", json!(null), LogoutFault::Expired),
        ("events", json!({}), LogoutFault::Events),
        ("events", json!({EVENT: true}), LogoutFault::Events),
        ("events", json!([EVENT]), LogoutFault::Events),
        ("nonce", json!("n"), LogoutFault::Nonce),
        ("nonce", json!(null), LogoutFault::Nonce),
        ("sub", json!(5), LogoutFault::Subject),
        ("sid", json!(""), LogoutFault::Subject),
        ("sub", json!("x".repeat(256)), LogoutFault::Subject),
        ("jti", json!(7), LogoutFault::Jti),
    ] {
        assert_eq!(
            check_with(name, value.clone()),
            Err(fault),
            "{name}: {value}"
        );
    }
    for (name, fault) in [
        ("iss", LogoutFault::Issuer),
        ("aud", LogoutFault::Audience),
        ("iat", LogoutFault::IssuedAt),
        ("exp", LogoutFault::Expired),
        ("events", LogoutFault::Events),
        ("jti", LogoutFault::Jti),
    ] {
        assert_eq!(check_without(name), Err(fault), "{name}");
    }
    let mut without_subject = valid_claims();
    without_subject
        .as_object_mut()
        .unwrap()
        .retain(|name, _| name != "sub" && name != "sid");
    assert_eq!(check(&without_subject), Err(LogoutFault::Subject));
}

#[test]
fn only_a_key_of_the_provider_verifies_a_signature() {
    let all = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa].map(key);
    for signer in &all {
        let token = sign(signer, &valid_claims());
        let parsed = parse(&token).unwrap();
        assert_eq!(signature_fault(&keys(&all.each_ref()), &parsed), None);
        let others: Vec<&SigningKey> = all
            .iter()
            .filter(|k| k.header.alg != signer.header.alg)
            .collect();
        let fault = signature_fault(&keys(&others), &parsed);
        assert_eq!(fault, Some(LogoutFault::UnknownKey));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let other_claims =
            URL_SAFE_NO_PAD.encode(valid_claims().to_string().replace("\"u\"", "\"admin\""));
        let forged_token = format!("{header}.{other_claims}.{signature}");
        let parsed = parse(&forged_token).unwrap();
        let fault = signature_fault(&keys(&[signer]), &parsed);
        assert_eq!(fault, Some(LogoutFault::Signature));
    }
}

#[test]
fn symmetric_and_unsigned_algorithms_are_rejected() {
    let encode = |header: &Value| {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", encode(header), encode(&valid_claims()))
    };
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": 5}),
        json!({}),
        json!({"alg": "ES256", "crit": ["b64"], "b64": false}),
    ] {
        let fault = parse(&encode(&header)).err();
        assert_eq!(fault, Some(LogoutFault::Algorithm), "{header}");
    }
    // An attack: the public key used as a shared secret.
    let public = key(Algorithm::Rs256).public_jwk.unwrap();
    let shared = EncodingKey::from_secret(public["n"].as_str().unwrap().as_bytes());
    for alg in ["HS256", "HS384", "HS512"] {
        let header = JwtHeader::new(alg.parse().unwrap());
        let token = jsonwebtoken::encode(&header, &valid_claims(), &shared).unwrap();
        let fault = parse(&token).err();
        assert_eq!(fault, Some(LogoutFault::Algorithm));
    }
    for malformed in [
        "",
        "a",
        "a.b",
        "a.b.c",
        "..",
        "e30.e30.e30.e30",
        "W10.e30.",
        "e30.W10.",
    ] {
        let fault = parse(malformed).err().unwrap();
        let expected = [LogoutFault::Malformed, LogoutFault::Algorithm];
        assert!(expected.contains(&fault), "{malformed}: {fault:?}");
    }
}

#[test]
fn the_type_is_required_unless_configured() {
    let token = |typ: Value| {
        let header = json!({"alg": "ES256", "typ": typ});
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", encode(&header), encode(&valid_claims()))
    };
    let (missing, refused) = (Value::Null, Some(LogoutFault::Type));
    for (typ, by_default, with_any) in [
        (json!("logout+jwt"), None, None),
        (json!("application/LOGOUT+jwt"), None, None),
        (json!("JWT"), refused, None),
        (missing, refused, None),
        (json!("secevent+jwt"), refused, refused),
        (json!("at+jwt"), refused, refused),
    ] {
        let token = token(typ.clone());
        let fault = |accepted| LogoutToken::parse(&token, accepted).err();
        assert_eq!(fault(LogoutTokenType::Required), by_default, "{typ}");
        assert_eq!(fault(LogoutTokenType::Any), with_any, "{typ}");
    }
}
