//! Which keys are accepted for which algorithm, and a key set that changes at its URL, with a paused clock.

use super::*;
use crate::config;
use crate::core::secret::Secret;
use crate::sessions::keys::SigningKey;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use parking_lot::Mutex as BlockingMutex;
use serde_json::json;
use tokio::net::TcpListener;

// Public keys from the examples of RFC 8037 appendix A.2 and RFC 7515 appendices A.2 and A.3.
const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const RSA: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

fn ed(kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": kid})
}

fn set(keys: &[Value]) -> Vec<u8> {
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

fn published(algorithm: config::Algorithm, kid: &str) -> Value {
    signer(algorithm, kid).public_jwk.unwrap()
}

fn signed(algorithm: config::Algorithm, kid: &str) -> String {
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

/// An HTTP server for a key set: its response, and the number of requests it received.
struct Publisher {
    response: BlockingMutex<(StatusCode, Vec<u8>)>,
    requests: BlockingMutex<u32>,
}

impl Publisher {
    async fn start() -> (Arc<Self>, RemoteKeys) {
        let publisher = Arc::new(Self {
            response: BlockingMutex::new((StatusCode::OK, set(&[okp("one")]))),
            requests: BlockingMutex::default(),
        });
        let answer = async |State(server): State<Arc<Self>>| {
            *server.requests.lock() += 1;
            server.response.lock().clone()
        };
        let router = Router::new().route("/jwks", get(answer));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let router = router.with_state(publisher.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        (publisher, RemoteKeys::from_url(url).unwrap())
    }

    fn set_response(&self, status: StatusCode, body: Vec<u8>) {
        *self.response.lock() = (status, body);
    }

    fn request_count(&self) -> u32 {
        *self.requests.lock()
    }
}

fn okp(kid: &str) -> Value {
    published(config::Algorithm::EdDsa, kid)
}

/// Whether the signer has this key; an error when that is unknown.
async fn has_key(keys: &RemoteKeys, kid: &str) -> Result<bool, KeysUnavailable> {
    let token = signed(config::Algorithm::EdDsa, kid);
    let jws = UnverifiedJws::parse(&token).unwrap();
    let verdict = keys.check_signature(&jws).await?;
    Ok(verdict.is_ok())
}

async fn advance(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_unknown_kid_causes_one_fetch_per_interval() {
    let (publisher, keys) = Publisher::start().await;
    assert_eq!(has_key(&keys, "one").await, Ok(true));
    assert_eq!(has_key(&keys, "one").await, Ok(true));
    assert_eq!(publisher.request_count(), 1, "kept");
    publisher.set_response(StatusCode::OK, set(&[okp("two")]));
    for _ in 0..5 {
        // The token is not rejected: the key may be new, and here it is.
        assert_eq!(has_key(&keys, "two").await, Err(KeysUnavailable));
    }
    assert_eq!(publisher.request_count(), 1, "not yet");
    advance(MIN_FETCH_INTERVAL).await;
    let all = futures_util::future::join_all((0..20).map(|_| has_key(&keys, "two")));
    assert!(all.await.iter().all(|is_verified| *is_verified == Ok(true)));
    assert_eq!(publisher.request_count(), 2, "once for all");
    advance(MIN_FETCH_INTERVAL).await;
    assert_eq!(has_key(&keys, "one").await, Ok(false), "rotated out");
    publisher.set_response(StatusCode::INTERNAL_SERVER_ERROR, Vec::new());
    advance(MIN_FETCH_INTERVAL).await;
    assert_eq!(has_key(&keys, "three").await, Err(KeysUnavailable));
}

#[tokio::test]
async fn an_old_set_is_fetched_again_and_stays_in_use_while_fetching_fails() {
    let (publisher, keys) = Publisher::start().await;
    assert_eq!(has_key(&keys, "one").await, Ok(true));
    publisher.set_response(StatusCode::INTERNAL_SERVER_ERROR, Vec::new());
    advance(REFRESH_AFTER).await;
    assert_eq!(has_key(&keys, "one").await, Ok(true));
    assert_eq!(publisher.request_count(), 2);
    publisher.set_response(StatusCode::OK, set(&[okp("two")]));
    advance(MIN_FETCH_INTERVAL).await;
    assert_eq!(has_key(&keys, "one").await, Ok(false), "withdrawn");
    publisher.set_response(StatusCode::NOT_FOUND, Vec::new());
    advance(MAX_STALE).await;
    assert_eq!(has_key(&keys, "two").await, Err(KeysUnavailable));
}

#[tokio::test]
async fn an_invalid_set_makes_keys_unavailable() {
    for body in [b"nonsense".to_vec(), set(&[]), vec![b' '; MAX_BYTES + 1]] {
        let (publisher, keys) = Publisher::start().await;
        publisher.set_response(StatusCode::OK, body);
        assert_eq!(has_key(&keys, "one").await, Err(KeysUnavailable));
        assert_eq!(has_key(&keys, "one").await, Err(KeysUnavailable));
        assert_eq!(publisher.request_count(), 1);
    }
    let unreachable = RemoteKeys::from_url("http://127.0.0.1:1/jwks".to_owned()).unwrap();
    assert_eq!(has_key(&unreachable, "one").await, Err(KeysUnavailable));
}

#[tokio::test]
async fn a_key_that_changed_under_its_kid_is_fetched_once() {
    let (publisher, keys) = Publisher::start().await;
    publisher.set_response(StatusCode::OK, set(&[ed("one")]));
    assert_eq!(has_key(&keys, "one").await, Ok(false), "another key");
    assert_eq!(publisher.request_count(), 1);
    publisher.set_response(StatusCode::OK, set(&[okp("one")]));
    assert_eq!(has_key(&keys, "one").await, Ok(false), "fetched just now");
    assert_eq!(publisher.request_count(), 1);
    advance(MIN_FETCH_INTERVAL).await;
    assert_eq!(has_key(&keys, "one").await, Ok(true));
    assert_eq!(publisher.request_count(), 2);
    publisher.set_response(StatusCode::OK, set(&[ed("one")]));
    advance(REFRESH_AFTER).await;
    assert_eq!(has_key(&keys, "one").await, Ok(false));
    publisher.set_response(StatusCode::NOT_FOUND, Vec::new());
    advance(MIN_FETCH_INTERVAL).await;
    // The key may have changed again, so the token is not rejected.
    assert_eq!(has_key(&keys, "one").await, Err(KeysUnavailable));
}
