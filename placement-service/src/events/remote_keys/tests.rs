//! A key set that changes at its URL, with a paused clock.

use super::*;
use crate::config;
use crate::events::public_keys::tests::{ed, published, set, signed};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use parking_lot::Mutex as BlockingMutex;
use serde_json::Value;
use tokio::net::TcpListener;

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
