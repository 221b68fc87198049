//! Each check in isolation: a token that fails only this check is rejected with the fault of this check.

use super::*;
use crate::config::Algorithm;
use crate::core::secret::Secret;
use crate::sessions::keys::SigningKey;
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

fn keys(signers: &[&SigningKey]) -> Vec<CoreJsonWebKey> {
    let public = signers.iter().map(|key| key.public_jwk.clone().unwrap());
    public
        .map(|key| serde_json::from_value(key).unwrap())
        .collect()
}

fn valid_claims() -> Value {
    json!({"iss": ISSUER, "aud": "berth", "iat": NOW_S, "exp": NOW_S + 120, "jti": "j", "sub": "u",
        "sid": "s", "events": {EVENT: {}}})
}

fn check(claims: &Value) -> Result<LogoutClaims, LogoutFault> {
    let key = key(Algorithm::Es256);
    let token = jsonwebtoken::encode(&key.header, claims, &key.encoding_key).unwrap();
    let parsed = LogoutToken::parse(&token)?;
    parsed.check_signature(&keys(&[&key]))?;
    parsed.check_claims(ISSUER, "berth", NOW_S * 1000)
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
    assert!(check_with("aud", json!(["other", "berth"])).is_ok());
    assert!(check_with("iat", json!(NOW_S as f64 + 0.5)).is_ok());
}

#[test]
fn each_claim_is_checked() {
    for (name, value, fault) in [
        ("iss", json!("https://evil.example"), LogoutFault::Issuer),
        ("aud", json!("other"), LogoutFault::Audience),
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
        let token =
            jsonwebtoken::encode(&signer.header, &valid_claims(), &signer.encoding_key).unwrap();
        let parsed = LogoutToken::parse(&token).unwrap();
        assert_eq!(parsed.check_signature(&keys(&all.each_ref())), Ok(()));
        let other_keys: Vec<&SigningKey> = all
            .iter()
            .filter(|k| k.header.alg != signer.header.alg)
            .collect();
        assert_eq!(
            parsed.check_signature(&keys(&other_keys)),
            Err(LogoutFault::Signature)
        );
        assert_eq!(parsed.check_signature(&[]), Err(LogoutFault::UnknownKey));
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let other_claims =
            URL_SAFE_NO_PAD.encode(valid_claims().to_string().replace("\"u\"", "\"admin\""));
        let forged_token = format!("{header}.{other_claims}.{signature}");
        let parsed = LogoutToken::parse(&forged_token).unwrap();
        let fault = parsed.check_signature(&keys(&[signer]));
        assert_eq!(fault, Err(LogoutFault::Signature));
    }
    let mut header = all[1].header.clone();
    header.kid = Some("another".to_owned());
    let token = jsonwebtoken::encode(&header, &valid_claims(), &all[1].encoding_key).unwrap();
    let parsed = LogoutToken::parse(&token).unwrap();
    let fault = parsed.check_signature(&keys(&all.each_ref()));
    assert_eq!(fault, Err(LogoutFault::UnknownKey));
}

#[test]
fn symmetric_and_unsigned_algorithms_are_rejected() {
    let encode = |header: &Value| {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", encode(header), encode(&valid_claims()))
    };
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "None"}),
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": 5}),
        json!({}),
        json!({"alg": "ES256", "crit": ["b64"], "b64": false}),
    ] {
        let fault = LogoutToken::parse(&encode(&header)).err();
        assert_eq!(fault, Some(LogoutFault::Algorithm), "{header}");
    }
    // An attack: the public key used as a shared secret.
    let public = key(Algorithm::Rs256).public_jwk.unwrap();
    let shared = EncodingKey::from_secret(public["n"].as_str().unwrap().as_bytes());
    for alg in ["HS256", "HS384", "HS512"] {
        let header = JwtHeader::new(alg.parse().unwrap());
        let token = jsonwebtoken::encode(&header, &valid_claims(), &shared).unwrap();
        let fault = LogoutToken::parse(&token).err();
        assert_eq!(fault, Some(LogoutFault::Algorithm));
    }
    for (typ, fault) in [
        ("logout+jwt", None),
        ("application/LOGOUT+jwt", None),
        ("JWT", None),
        ("secevent+jwt", Some(LogoutFault::Type)),
        ("at+jwt", Some(LogoutFault::Type)),
    ] {
        let header = json!({"alg": "ES256", "typ": typ});
        assert_eq!(LogoutToken::parse(&encode(&header)).err(), fault, "{typ}");
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
        let fault = LogoutToken::parse(malformed).err().unwrap();
        let expected = [LogoutFault::Malformed, LogoutFault::Algorithm];
        assert!(expected.contains(&fault), "{malformed}: {fault:?}");
    }
}
