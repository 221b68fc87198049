//! Placements with a token instead of a cookie: tokens of programs, and tokens of sessions.

use crate::placements::start_site;
use crate::site::send_request;
use berth_api::PlacementAnswer;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;

pub(crate) fn token_placement_body(token: &str, path: &str) -> String {
    json!({"token": token, "method": "GET", "path": path, "host": "h"}).to_string()
}

/// A token for a program, signed with the service's own secret.
pub(crate) fn program_token(more: &serde_json::Value) -> String {
    let mut claims =
        json!({"iss": "berth", "aud": "engine", "sub": "robot", "exp": 4_102_444_800_u64});
    let fields = claims.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let key = EncodingKey::from_secret("k".repeat(40).as_bytes());
    encode(&Header::default(), &claims, &key).unwrap()
}

#[tokio::test]
async fn a_program_token_is_placed_and_reaches_the_engine_unchanged() {
    let (site, engine) = start_site().await;
    let token = program_token(&json!({"roles": ["batch"]}));
    let place = async || {
        site.post_json(
            "/v1/placements",
            token_placement_body(&token, "/app/sales.qvf"),
        )
        .await
    };
    let answer = place().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let placed: PlacementAnswer = serde_json::from_str(&answer.text).unwrap();
    assert!(placed.token == token, "another token");
    assert_eq!(
        (placed.token_expires_at, placed.session_expires_at),
        (4_102_444_800, 4_102_444_800)
    );
    assert_eq!(engine.sessions().remove(0).user, "robot");
    assert_eq!(site.session_rows().await, 0);
    // The same token always gets the same `session_ref`, another token gets another one.
    assert!(
        placed.session_ref.starts_with("t."),
        "not the name of a session"
    );
    assert_eq!(placed.session_ref.len(), 47);
    assert_eq!(
        place().await.json()["session_ref"],
        json!(placed.session_ref)
    );
    let other = token_placement_body(&program_token(&json!({"jti": "2"})), "/app/sales.qvf");
    let other = site.post_json("/v1/placements", other).await;
    assert_ne!(other.json()["session_ref"], json!(placed.session_ref));
}

#[tokio::test]
async fn an_invalid_token_is_not_placed() {
    let (site, engine) = start_site().await;
    let good = program_token(&json!({}));
    for token in [
        program_token(&json!({"exp": 1_000_000_000})),
        program_token(&json!({"aud": "other"})),
        format!("{good}A"),
        "abc".to_owned(),
    ] {
        let answer = site
            .post_json(
                "/v1/placements",
                token_placement_body(&token, "/app/sales.qvf"),
            )
            .await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (401, "bearer-invalid")
        );
        assert!(!answer.text.contains("anonymous_cookie") && !answer.text.contains("eyJ"));
    }
    let id = site.login().await;
    for body in [
        json!({"method": "GET", "path": "/app/sales.qvf", "host": "h"}),
        json!({"session": id, "token": good, "method": "GET", "path": "/app/sales.qvf", "host": "h"}),
    ] {
        let answer = site.post_json("/v1/placements", body).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (400, "invalid-request")
        );
    }
    assert_eq!(engine.stats().sessions, 0);
}

#[tokio::test]
async fn a_session_token_is_placed_while_its_session_is_active() {
    let (site, _engine) = start_site().await;
    let id = site.login().await;
    let minted = site.token(&id).await.json();
    let token = minted["token"].as_str().unwrap();
    let place = async |token: &str| {
        site.post_json(
            "/v1/placements",
            token_placement_body(token, "/app/sales.qvf"),
        )
        .await
    };
    let answer = place(token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["session_ref"], minted["session_ref"]);
    let foreign = program_token(&json!({"sid": minted["session_ref"]}));
    assert_eq!(place(&foreign).await.reason(), "bearer-invalid");
    let logout = site.request(reqwest::Method::POST, "/logout");
    let out = send_request(logout.header("cookie", format!("berth={id}"))).await;
    assert!(matches!(out.status, 204 | 303), "{out:?}");
    let answer = place(token).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (401, "bearer-invalid")
    );
}

#[tokio::test]
async fn a_session_token_is_returned_unchanged_while_its_session_is_active() {
    let (site, _engine) = start_site().await;
    let id = site.login().await;
    let minted = site.token(&id).await.json();
    let place = async |token: &str| site.post_json("/v1/tokens", json!({"token": token})).await;
    let token = minted["token"].as_str().unwrap();
    let answer = place(token).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let again = answer.json();
    for field in [
        "token",
        "token_expires_at",
        "session_ref",
        "account",
        "roles",
    ] {
        assert_eq!(again[field], minted[field], "{field}");
    }
    let robot = program_token(&json!({"jti": "tokens"}));
    let answer = place(&robot).await.json();
    assert_eq!(
        (&answer["token"], &answer["account"]),
        (&json!(robot), &json!("robot"))
    );

    let logout = site.request(reqwest::Method::POST, "/logout");
    let out = send_request(logout.header("cookie", format!("berth={id}"))).await;
    assert!(matches!(out.status, 204 | 303), "{out:?}");
    let foreign = program_token(&json!({"sid": minted["session_ref"]}));
    let expired = program_token(&json!({"exp": 1_000_000_000}));
    for token in [token, &foreign, &expired, "abc"] {
        let answer = place(token).await;
        let got = (answer.status, answer.reason());
        assert_eq!(got, (401, "bearer-invalid".to_owned()));
        assert!(!answer.text.contains("anonymous_cookie") && !answer.text.contains("eyJ"));
    }
}
