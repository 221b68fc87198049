//! Sessions of another login service: the reading part of the contract, and that every writing call is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_databases::Redis;
use berth_store::conformance::{event, removal, session_row};
use berth_store::in_memory::InMemoryStore;
use berth_store::redis_jwt::{JwtKey, JwtRules, RedisJwtStore};
use berth_store::{AccountChange, AccountRow, Attempts, SessionQuery, StoreError, Stores};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use redis::AsyncCommands;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const SECRET: &[u8] = b"the secret of the old login service";
const LIMIT: Duration = Duration::from_secs(10);

async fn opened() -> (Arc<Redis>, redis::aio::MultiplexedConnection, Stores) {
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let rules = JwtRules {
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
    };
    let name_of = |_: &_| "ref".to_owned();
    let store = RedisJwtStore::open(&url, "sess:", rules, LIMIT, name_of)
        .await
        .unwrap();
    let client = redis::Client::open(url).unwrap();
    let redis = client.get_multiplexed_async_connection().await.unwrap();
    (
        server,
        redis,
        store.into_stores(Arc::new(InMemoryStore::new(None).unwrap())),
    )
}

#[tokio::test]
async fn a_kept_jwt_is_a_session_until_redis_forgets_it() {
    let (_server, mut redis, stores) = opened().await;
    let key = EncodingKey::from_secret(SECRET);
    let claims = json!({"sub": "ann", "roles": ["user"], "exp": 4_102_444_800_u64});
    let jwt = encode(&Header::default(), &claims, &key).unwrap();
    let _: () = redis.set_ex("sess:cookie", jwt, 100).await.unwrap();
    let row = stores
        .sessions
        .find_by_cookie("cookie")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (row.account.as_str(), row.session_ref.as_str()),
        ("ann", "ref")
    );
    assert_eq!(Some(row.id_hash), stores.sessions.cookie_id("cookie"));
    let left_ms = row.absolute_expiry_ms - row.last_seen_at_ms;
    assert!((90_000..=100_000).contains(&left_ms), "{left_ms}");
    for stranger in ["cooki", "", &"c".repeat(129)] {
        assert_eq!(stores.sessions.find_by_cookie(stranger).await, Ok(None));
    }
    let _: () = redis.del("sess:cookie").await.unwrap();
    assert_eq!(stores.sessions.find_by_cookie("cookie").await, Ok(None));
}

#[tokio::test]
async fn every_writing_call_is_refused() {
    let (_server, mut redis, stores) = opened().await;
    let (row, sessions) = (session_row(1), &stores.sessions);
    let accounts = stores.accounts.as_ref().unwrap();
    let account = AccountRow {
        name: "ann".to_owned(),
        password_hash: String::new(),
        roles: Vec::new(),
        created_at_ms: 1,
        locked: false,
        attempts: Attempts::default(),
        devices: String::new(),
    };
    let read_only = StoreError::ReadOnly;
    let created = event(&row, None);
    assert_eq!(
        sessions.insert(&row, None, &created).await,
        Err(read_only.clone())
    );
    assert_eq!(
        sessions.touch(&[(row.id_hash, 5)]).await,
        Err(read_only.clone())
    );
    assert_eq!(
        sessions.remove(&[removal(&row)]).await,
        Err(read_only.clone())
    );
    let of_ann = SessionQuery::Account("ann".to_owned());
    assert_eq!(sessions.list(&of_ann, 1).await, Err(read_only.clone()));
    assert_eq!(
        sessions.list(&SessionQuery::ExpiredAt(u64::MAX), 1).await,
        Ok(Vec::new())
    );
    assert_eq!(accounts.add_account(&account).await, Err(read_only.clone()));
    assert_eq!(
        accounts
            .change_account("ann", &AccountChange::Locked(true))
            .await,
        Err(read_only.clone())
    );
    let none = Attempts::default();
    assert_eq!(
        accounts.set_attempts("ann", none, none).await,
        Err(read_only.clone())
    );
    assert_eq!(accounts.set_devices("ann", "", "").await, Err(read_only));
    assert_eq!(stores.coordination.ping().await, Ok(()));
    let keys: Vec<String> = redis.keys("*").await.unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}
