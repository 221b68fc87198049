//! Which keys are accepted for which algorithm, and what a malformed key spoils.

use super::*;
use crate::config;
use crate::core::secret::Secret;
use crate::sessions::keys::SigningKey;
use serde_json::json;

// Public keys from the examples of RFC 8037 appendix A.2 and RFC 7515 appendices A.2 and A.3.
const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const RSA: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

pub(in crate::events) fn ed(kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": kid})
}

pub(in crate::events) fn set(keys: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "keys": keys })).unwrap()
}

#[test]
fn a_key_verifies_only_the_algorithms_of_its_type() {
    use Algorithm::{ES256, ES384, EdDSA, HS256, PS512, RS256, RS512};
    let rsa = json!({"kty": "RSA", "n": RSA, "e": "AQAB", "kid": "r"});
    let bound = json!({"kty": "RSA", "n": RSA, "e": "AQAB", "kid": "b", "alg": "RS256"});
    let ec = json!({"kty": "EC", "crv": "P-256", "x": X, "y": Y, "kid": "e"});
    let keys = PublicKeys::parse(&set(&[rsa, bound, ec, ed("o")])).unwrap();
    for (kid, fitting) in [
        ("r", vec![RS256, RS512, PS512]),
        ("b", vec![RS256]),
        ("e", vec![ES256]),
        ("o", vec![EdDSA]),
        ("unknown", vec![]),
    ] {
        for algorithm in [RS256, RS512, PS512, ES256, ES384, EdDSA, HS256] {
            let found = keys.candidates(Some(kid), algorithm).next().is_some();
            assert_eq!(found, fitting.contains(&algorithm), "{kid} {algorithm:?}");
        }
    }
    assert_eq!(keys.candidates(None, RS256).count(), 2, "without a kid");
}

#[test]
fn keys_that_are_not_public_signature_keys_are_left_out() {
    let secret = json!({"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "a"});
    let encryption = json!({"kty": "RSA", "n": RSA, "e": "AQAB", "kid": "b", "use": "enc"});
    let signing = json!({"kty": "RSA", "n": RSA, "e": "AQAB", "kid": "c", "key_ops": ["sign"]});
    let unknown_type = json!({"kty": "moon", "kid": "d"});
    let curve = json!({"kty": "EC", "crv": "secp256k1", "x": X, "y": Y, "kid": "e"});
    let all = [secret, encryption, signing, unknown_type, curve, json!(7)];
    assert_eq!(PublicKeys::parse(&set(&all)), Err(KeySetError::NoUsableKey));
    let mut with_extra_key = all.to_vec();
    with_extra_key.push(ed("f"));
    assert_eq!(PublicKeys::parse(&set(&with_extra_key)).unwrap().0.len(), 1);
    assert_eq!(PublicKeys::parse(b"{}"), Err(KeySetError::Malformed));
    assert_eq!(PublicKeys::parse(b"<html>"), Err(KeySetError::Malformed));
    let too_many = vec![ed("f"); MAX_KEYS + 1];
    assert_eq!(
        PublicKeys::parse(&set(&too_many)),
        Err(KeySetError::TooMany)
    );
}

/// A key that signs, with a published half.
fn signer(algorithm: config::Algorithm, kid: &str) -> SigningKey {
    let pem = match algorithm {
        config::Algorithm::Es256 => include_str!("../../../tests/keys/es256.pem"),
        _ => include_str!("../../../tests/keys/eddsa.pem"),
    };
    SigningKey::new(algorithm, &Secret::new(pem.to_owned()), Some(kid)).unwrap()
}

pub(in crate::events) fn published(algorithm: config::Algorithm, kid: &str) -> Value {
    signer(algorithm, kid).public_jwk.unwrap()
}

pub(in crate::events) fn signed(algorithm: config::Algorithm, kid: &str) -> String {
    let key = signer(algorithm, kid);
    jsonwebtoken::encode(&key.header, &json!({}), &key.encoding_key).unwrap()
}

fn verdict(keys: &[Value], token: &str) -> Result<(), SignatureFault> {
    let jws = UnverifiedJws::parse(token).unwrap();
    PublicKeys::parse(&set(keys)).unwrap().check_signature(&jws)
}

#[test]
fn a_malformed_key_or_member_does_not_spoil_the_set() {
    let token = signed(config::Algorithm::Es256, "k");
    let good = published(config::Algorithm::Es256, "k");
    assert_eq!(verdict(std::slice::from_ref(&good), &token), Ok(()));
    for (member, value) in [
        ("x5c", json!("not a list")),
        ("x5t", json!(5)),
        ("x5u", json!({})),
        ("ext", json!("yes")),
        ("use", Value::Null),
        ("key_ops", Value::Null),
    ] {
        let mut odd = good.clone();
        odd[member] = value;
        assert_eq!(verdict(&[odd], &token), Ok(()), "{member}");
    }
    for (member, value) in [
        ("kty", json!(5)),
        ("crv", json!("P-999")),
        ("x", json!(X)),
        ("x", json!("~".repeat(43))),
        ("y", json!(null)),
        ("alg", json!({})),
    ] {
        let mut malformed = good.clone();
        malformed[member] = value;
        let both = [malformed, good.clone()];
        assert_eq!(verdict(&both, &token), Ok(()), "{member}");
    }
    let mut replaced = good.clone();
    (replaced["x"], replaced["y"]) = (json!(X), json!(Y));
    let outcome = verdict(std::slice::from_ref(&replaced), &token);
    assert_eq!(outcome, Err(SignatureFault::Mismatch));
    assert_eq!(
        verdict(&[replaced, good], &token),
        Ok(()),
        "one kid, two keys"
    );
    let outcome = verdict(&[ed("k")], &token);
    assert_eq!(outcome, Err(SignatureFault::UnknownKey));
}

#[test]
fn a_key_of_a_wrong_size_is_left_out() {
    let okp = |x: &str| json!({"kty": "OKP", "crv": "Ed25519", "x": x});
    let ec = |curve: &str, y: &str| json!({"kty": "EC", "crv": curve, "x": X, "y": y});
    let rsa = |n: String, e: &str| json!({"kty": "RSA", "n": n, "e": e});
    for key in [
        okp(""),
        okp("AAAA"),
        okp(&format!("{ED}AAAA")),
        ec("P-256", ""),
        ec("P-256", "AAAA"),
        ec("P-384", Y),
        rsa(String::new(), "AQAB"),
        rsa("A".repeat(170), "AQAB"),
        rsa("_".repeat(100_000), "AQAB"),
        rsa(RSA.to_owned(), ""),
        rsa(RSA.to_owned(), RSA),
    ] {
        let parsed = PublicKeys::parse(&set(std::slice::from_ref(&key)));
        assert_eq!(parsed, Err(KeySetError::NoUsableKey), "{key}");
    }
}
