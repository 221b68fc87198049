//! What gateways request under `/v1` (tokens and placements), and the published keys.

use crate::site::{Answer, Site, send_request};
use berth_placement::core::clock::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashSet;

const HOUR_MS: u64 = 3_600_000;

fn decode_claims(token: &str) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&["engine"]);
    let key = DecodingKey::from_secret("k".repeat(40).as_bytes());
    decode(token, &key, &validation).unwrap().claims
}

#[tokio::test]
async fn a_session_cookie_is_exchanged_for_a_token() {
    let site = Site::start("").await;
    let id = site.login().await;
    let now = site.clock.now_s();
    let answer = site.token(&id).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    assert_eq!(
        (&body["account"], &body["roles"]),
        (&json!("demo"), &json!(["user"]))
    );
    assert_eq!(body["token_expires_at"], now + 300);
    assert_eq!(body["session_expires_at"], now + 36_000);
    let claims = decode_claims(body["token"].as_str().unwrap());
    assert_eq!(
        (&claims["sub"], &claims["iss"]),
        (&json!("demo"), &json!("berth"))
    );
    assert_eq!(
        (&claims["exp"], &claims["sid"]),
        (&body["token_expires_at"], &body["session_ref"])
    );
    assert_eq!(site.token(&id).await.json()["token"], body["token"]);
    assert!(!answer.text.contains(&id));
}

#[tokio::test]
async fn a_token_request_is_activity_and_the_token_ends_with_the_session() {
    let site = Site::start("").await;
    let id = site.login().await;
    for _ in 0..20 {
        site.clock.advance_ms(29 * 60_000);
        assert_eq!(site.token(&id).await.status, 200);
    }
    site.clock.advance_ms(18 * 60_000);
    let body = site.token(&id).await.json();
    assert_eq!(body["token_expires_at"], body["session_expires_at"]);
    site.clock.advance_ms(2 * 60_000);
    let answer = site.token(&id).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (440, "session-expired")
    );
}

#[tokio::test]
async fn parallel_stale_requests_get_one_anonymous_id_and_no_row() {
    let site = Site::start("").await;
    let expired = site.login().await;
    site.clock.advance_ms(HOUR_MS);
    let unknown = "u".repeat(43);
    let mut seen = HashSet::new();
    for (cookie, reason) in [(&expired, "session-expired"), (&unknown, "unknown-session")] {
        let asked = (0..20).map(|_| site.token(cookie));
        let answers: Vec<Answer> = futures_util::future::join_all(asked).await;
        let cookies: HashSet<String> = answers
            .iter()
            .map(|answer| {
                assert_eq!(answer.reason(), reason);
                assert!(answer.cookies().is_empty());
                answer.json()["anonymous_cookie"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(cookies.len(), 1);
        seen.extend(cookies);
    }
    assert_eq!(seen.len(), 2);
    for cookie in &seen {
        let rest = cookie.strip_prefix("berth-anon=").unwrap();
        let (id, attributes) = rest.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Lax");
        assert_eq!(site.token(id).await.reason(), "unknown-session");
    }
    assert!(site.session_rows().await <= 1, "only the expired one");
    let before = seen.clone();
    let site = site.restart("").await;
    let again = site.token(&unknown).await.json();
    assert!(before.contains(again["anonymous_cookie"].as_str().unwrap()));
}

#[tokio::test]
async fn placements_are_refused_for_the_same_reasons_as_tokens() {
    let site = Site::start("").await;
    let id = site.login().await;
    let place = |session: &str, path: &str| {
        let body = json!({"session": session, "method": "GET", "path": path, "host": "h"});
        site.post_json("/v1/placements", body)
    };
    let unknown = place("x", "/app/sales.qvf").await;
    assert_eq!(
        (unknown.status, unknown.reason().as_str()),
        (401, "unknown-session")
    );
    assert!(unknown.json()["anonymous_cookie"].is_string());
    assert_eq!(place(&id, "/nowhere").await.reason(), "no-such-route");
}

#[tokio::test]
async fn a_store_outage_refuses_all_requests_and_ends_no_session() {
    let site = Site::start("session: { cache: 0s, cookie: { secure: false } }").await;
    let id = site.login().await;
    site.break_store().await;
    let answer = site.token(&id).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "store-down")
    );
    assert_eq!(
        (answer.header("retry-after"), &answer.json()["retry_after"]),
        ("1", &json!(1))
    );
    assert!(answer.json().get("anonymous_cookie").is_none());
}

#[tokio::test]
async fn invalid_bodies_name_the_field() {
    let site = Site::start("").await;
    for (path, body, detail) in [
        ("/v1/tokens", "{}", "session or token, one of them"),
        (
            "/v1/tokens",
            "{\"session\":\"a\",\"token\":\"b\"}",
            "session or token, one of them",
        ),
        ("/v1/tokens", "nonsense", "the body is not JSON"),
        (
            "/v1/tokens",
            "{\"session\":5}",
            "session is of the wrong type",
        ),
        ("/v1/placements", "{\"session\":\"x\"}", "method is missing"),
        ("/v1/placements", "", "the body is not JSON"),
    ] {
        let answer = site.post_json(path, body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "invalid-request")
        );
        assert_eq!(answer.json()["detail"], detail);
    }
    let large = site.post_json("/v1/placements", "x".repeat(70_000)).await;
    assert_eq!(
        (large.status, large.reason().as_str()),
        (413, "body-too-large")
    );
}

#[tokio::test]
async fn with_a_secret_only_gateways_are_accepted() {
    let site = Site::start("gateways: { secret: { inline: gateway-secret-16 } }").await;
    let id = site.login().await;
    for path in ["/v1/tokens", "/v1/placements"] {
        for given in [
            "",
            "Bearer ",
            "Bearer gateway-secret-1",
            "gateway-secret-16",
            "Bearer x",
        ] {
            let request = site.request(Method::POST, path).body("{}");
            let answer = send_request(request.header("authorization", given)).await;
            assert_eq!(
                (answer.status, answer.reason().as_str()),
                (403, "unknown-gateway")
            );
        }
        assert_eq!(site.post_json(path, "{}").await.reason(), "unknown-gateway");
    }
    let body = json!({"session": id}).to_string();
    let request = site.request(Method::POST, "/v1/tokens").body(body);
    let known = send_request(request.header("authorization", "Bearer gateway-secret-16")).await;
    assert_eq!(known.status, 200);
    assert_eq!(
        site.get("/session", "").await.status,
        200,
        "the rest stays public"
    );
}

#[tokio::test]
async fn public_keys_are_published_and_shared_secrets_are_not() {
    let site = Site::start("").await;
    let jwks = site.get("/.well-known/jwks.json", "").await;
    assert_eq!(jwks.json(), json!({"keys": []}));
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keys/es256.pem");
    let tokens = format!("tokens: {{ algorithm: ES256, kid: k1, key: {{ file: {pem} }} }}");
    let site = Site::start(&tokens).await;
    let jwks = site.get("/.well-known/jwks.json", "").await;
    assert_eq!(jwks.header("cache-control"), "public, max-age=300");
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&jwks.text).unwrap();
    let key = DecodingKey::from_jwk(set.find("k1").unwrap()).unwrap();
    let token = site.token(&site.login().await).await.json();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&["engine"]);
    let token = decode::<Value>(token["token"].as_str().unwrap(), &key, &validation).unwrap();
    assert_eq!(token.claims["sub"], "demo");
}

#[tokio::test]
async fn a_token_too_long_for_a_header_is_refused() {
    let site = Site::start("").await;
    // Only another program on this store could write such roles.
    let roles = serde_json::json!(vec!["r".repeat(100); 300]).to_string();
    let update = sqlx::query("UPDATE accounts SET roles = ?").bind(roles);
    update.execute(&site.database().await).await.unwrap();
    let refused = site.token(&site.login().await).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (403, "forbidden")
    );
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("more than 24576: too many roles or claims"),
        "{detail}"
    );
}
