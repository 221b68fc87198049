//! `/v1/sessions` for operators.

use crate::events::CLIENTS;
use crate::site::{Answer, PASSWORD, Site, send_request, session_id};
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::json;

async fn request_with_secret(site: &Site, method: Method, path: &str, secret: &str) -> Answer {
    let request = site.request(method, path);
    send_request(request.header("authorization", format!("Bearer {secret}"))).await
}

async fn request_as_operator(site: &Site, method: Method, path: &str) -> Answer {
    request_with_secret(site, method, path, "operator-secret-1").await
}

#[tokio::test]
async fn an_operator_sees_sessions_without_their_ids() {
    let site = Site::start(CLIENTS).await;
    let (first, now) = (site.login().await, site.clock.now_s());
    site.clock.advance_ms(60_000);
    let second = site.login().await;
    let sids = [
        site.session_ref(&first).await,
        site.session_ref(&second).await,
    ];
    let listed = request_as_operator(&site, Method::GET, "/v1/sessions?account=demo").await;
    assert_eq!(listed.status, 200);
    let overview = |sid: &str, created_at: u64| {
        json!({"session_ref": sid, "account": "demo", "display_name": "demo", "roles": ["user"],
               "created_at": created_at, "last_seen_at": now + 60,
               "idle_remaining_s": 1800, "absolute_remaining_s": 36_000 - 60 + created_at - now,
               "runtime": "berth", "parent_ref": null, "provider": null, "engines": []})
    };
    let both = [overview(&sids[0], now), overview(&sids[1], now + 60)];
    assert_eq!(
        listed.json(),
        json!({"sessions": both, "more": false, "engines_complete": true})
    );
    let mut first_alone = both[0].clone();
    first_alone.as_object_mut().unwrap().remove("engines");
    let one = request_as_operator(&site, Method::GET, &format!("/v1/sessions/{}", sids[0])).await;
    assert_eq!(one.json(), first_alone);
    for text in [&listed.text, &one.text] {
        assert!(!text.contains(&first) && !text.contains(&second));
    }
    let none_found = request_as_operator(&site, Method::GET, "/v1/sessions?account=Demo").await;
    let no_sessions = json!({"sessions": [], "more": false, "engines_complete": true});
    assert_eq!(none_found.json(), no_sessions);
    site.clock.advance_ms(30 * 60_000);
    let over = request_as_operator(&site, Method::GET, "/v1/sessions?account=demo").await;
    assert_eq!(over.json(), no_sessions, "only active sessions are listed");
}

#[tokio::test]
async fn an_operator_ends_one_session_or_all_of_an_account() {
    let site = Site::start(CLIENTS).await;
    let ids = [site.login().await, site.login().await, site.login().await];
    let path = format!("/v1/sessions/{}", site.session_ref(&ids[0]).await);
    assert_eq!(
        request_as_operator(&site, Method::DELETE, &path)
            .await
            .status,
        204
    );
    assert_eq!(site.token(&ids[0]).await.reason(), "unknown-session");
    assert_eq!(site.token(&ids[1]).await.status, 200);
    for method in [Method::GET, Method::DELETE] {
        let gone = request_as_operator(&site, method, &path).await;
        assert_eq!(
            (gone.status, gone.reason().as_str()),
            (404, "no-such-session")
        );
    }
    let all = request_as_operator(&site, Method::DELETE, "/v1/sessions?account=demo").await;
    assert_eq!((all.status, all.json()), (200, json!({"ended": 2})));
    for id in &ids {
        assert_eq!(site.token(id).await.reason(), "unknown-session");
    }
    assert_eq!(site.session_rows().await, 0);
    let body = json!({"username": "demo", "password": PASSWORD});
    let again = site.post_json("/login", body).await;
    assert_eq!(site.token(&session_id(&again)).await.status, 200);
}

#[tokio::test]
async fn other_clients_cannot_read_or_end_sessions() {
    let site = Site::start(CLIENTS).await;
    let id = site.login().await;
    let one = format!("/v1/sessions/{}", site.session_ref(&id).await);
    for path in ["/v1/sessions?account=demo", &one] {
        for method in [Method::GET, Method::DELETE] {
            for (secret, reason) in [
                ("", "unknown-client"),
                ("operator-secret-2", "unknown-client"),
                ("runtime-secret-34", "forbidden"),
            ] {
                let refused = request_with_secret(&site, method.clone(), path, secret).await;
                assert_eq!((refused.status, refused.reason().as_str()), (403, reason));
            }
        }
    }
    assert_eq!(site.token(&id).await.status, 200);
    let site = site.restart("").await;
    let refused = request_as_operator(&site, Method::GET, &one).await;
    assert_eq!(refused.reason(), "unknown-client", "none is configured");
}

#[tokio::test]
async fn invalid_requests_name_their_reason() {
    let site = Site::start(CLIENTS).await;
    for (path, status, reason, detail) in [
        ("/v1/sessions", 400, "invalid-request", "account is missing"),
        (
            "/v1/sessions?account=",
            400,
            "invalid-request",
            "account is missing",
        ),
        (
            "/v1/sessions?account=a&account=b",
            400,
            "invalid-request",
            "account is there twice",
        ),
        ("/v1/sessions/%ff", 404, "no-such-session", ""),
        ("/v1/sessions/x", 404, "no-such-session", ""),
    ] {
        for method in [Method::GET, Method::DELETE] {
            let refused = request_as_operator(&site, method, path).await;
            assert_eq!(
                (refused.status, refused.reason().as_str()),
                (status, reason)
            );
            assert_eq!(refused.json()["detail"].as_str().unwrap_or(""), detail);
        }
    }
    site.break_store().await;
    for path in ["/v1/sessions/x", "/v1/sessions?account=demo"] {
        for method in [Method::GET, Method::DELETE] {
            assert_eq!(
                request_as_operator(&site, method, path).await.reason(),
                "store-down"
            );
        }
    }
}
