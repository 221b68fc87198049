//! Sessions of another login service (store `redis-jwt`): Berth serves them as its own, writes nothing, and refuses
//! requests that would write.

use crate::site::{Site, send_request};
use berth_databases::Redis;
use berth_placement::core::clock::{Clock, SystemClock};
use jsonwebtoken::{EncodingKey, Header, encode};
use redis::AsyncCommands;
use serde_json::{Value, json};
use std::sync::Arc;

const SECRET: &str = "the secret of the old login service";

struct OldLoginService {
    _server: Arc<Redis>,
    redis: redis::aio::MultiplexedConnection,
    site: Site,
}

impl OldLoginService {
    async fn start() -> Self {
        let server = Redis::shared().await.unwrap();
        let url = server.database();
        let client = redis::Client::open(url.as_str()).unwrap();
        let store = format!(
            "store: {{ kind: redis-jwt, url: {{ inline: \"{url}\" }}, prefix: \"sess:\", \
             keys: [ {{ algorithm: HS256, key: {{ inline: {SECRET} }} }} ] }}"
        );
        Self {
            _server: server,
            redis: client.get_multiplexed_async_connection().await.unwrap(),
            site: Site::start(&store).await,
        }
    }

    /// Stores a session as the old login service does at a login.
    async fn store_session(&self, cookie: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let jwt = encode(&Header::default(), claims, &key).unwrap();
        self.store_value(cookie, &jwt).await;
        jwt
    }

    async fn store_value(&self, cookie: &str, value: &str) {
        let mut redis = self.redis.clone();
        let _: () = redis.set(format!("sess:{cookie}"), value).await.unwrap();
    }
}

fn in_seconds(seconds: i64) -> i64 {
    i64::try_from(SystemClock.now_ms() / 1000).unwrap() + seconds
}

#[tokio::test]
async fn sessions_of_the_old_login_service_are_served() {
    let old = OldLoginService::start().await;
    let cookie = format!("s%3A{}.sig/+=", "x".repeat(100));
    let claims = json!({"sub": "ann", "roles": ["user"], "exp": in_seconds(100), "tenant": "t1"});
    let jwt = old.store_session(&cookie, &claims).await;
    let token = old.site.token(&cookie).await;
    assert_eq!(token.status, 200, "{token:?}");
    let body = token.json();
    assert_eq!(
        (&body["account"], &body["roles"]),
        (&json!("ann"), &json!(["user"]))
    );
    assert!(body["session_expires_at"].as_i64().unwrap() <= in_seconds(100));
    assert_ne!(body["token"], jwt, "Berth's own token, not the old one");
    let own = old.site.get("/session", &format!("berth={cookie}")).await;
    assert_eq!(own.json()["account"], "ann");
}

#[tokio::test]
async fn expired_unknown_and_forged_sessions_are_refused() {
    let old = OldLoginService::start().await;
    // Before the start of the service, whose clock stands still.
    old.store_session("over", &json!({"sub": "ann", "exp": in_seconds(-100)}))
        .await;
    old.store_value("forged", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA")
        .await;
    old.store_value("text", "no JWT").await;
    let mut redis = old.redis.clone();
    let _: () = redis.hset("sess:hash", "a", "b").await.unwrap();
    for (cookie, status, reason) in [
        ("over", 440, "session-expired"),
        ("forged", 401, "unknown-session"),
        ("text", 401, "unknown-session"),
        ("hash", 401, "unknown-session"),
        ("none", 401, "unknown-session"),
    ] {
        let answer = old.site.token(cookie).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (status, reason),
            "{cookie}"
        );
    }
}

#[tokio::test]
async fn requests_that_would_write_are_refused() {
    let old = OldLoginService::start().await;
    old.store_session("c", &json!({"sub": "ann", "exp": in_seconds(100)}))
        .await;
    let login = json!({"username": "ann", "password": "a password"});
    let login = old.site.post_json("/login", login).await;
    assert_eq!(
        (login.status, login.reason().as_str()),
        (501, "read-only-store")
    );
    let logout = old.site.request(reqwest::Method::POST, "/logout");
    let logout = send_request(logout.header("cookie", "berth=c")).await;
    assert_eq!(
        (logout.status, logout.reason().as_str()),
        (501, "read-only-store")
    );
    assert!(logout.cookies().is_empty(), "the session continues");
    assert_eq!(old.site.token("c").await.status, 200);
}
