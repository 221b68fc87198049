//! What a browser can request about its own session.

use crate::site::{PASSWORD, Site, send_request, session_id};
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::json;

const MINUTE_MS: u64 = 60_000;

#[tokio::test]
async fn a_session_is_described_and_the_request_is_not_activity() {
    let site = Site::start("").await;
    let cookie = format!("other=1; berth={}", site.login().await);
    site.clock.advance_ms(10 * MINUTE_MS);
    for path in ["/session", "/is-authenticated", "/session/placements"] {
        assert_eq!(site.get(path, &cookie).await.status, 200);
    }
    let own = site.get("/session", &cookie).await;
    assert_eq!(
        own.json(),
        json!({"anonymous": false, "account": "demo", "display_name": "demo", "roles": ["user"],
               "idle_remaining_s": 20 * 60, "absolute_remaining_s": 36_000 - 600})
    );
    assert_eq!(own.header("cache-control"), "no-store");
    site.clock.advance_ms(20 * MINUTE_MS);
    let own = site.get("/session", &cookie).await;
    assert_eq!(own.json(), json!({"anonymous": true}));
}

#[tokio::test]
async fn a_stale_or_absent_cookie_is_anonymous() {
    let site = Site::start("").await;
    for cookie in ["", "berth=", "berth=x", "berth=\"quoted\""] {
        let own = site.get("/session", cookie).await;
        assert_eq!((own.status, own.json()), (200, json!({"anonymous": true})));
        assert!(own.cookies().is_empty());
        let authenticated = site.get("/is-authenticated", cookie).await;
        assert_eq!(authenticated.status, 401);
        assert_eq!(authenticated.json(), json!({"authenticated": false}));
        let placements = site.get("/session/placements", cookie).await;
        assert_eq!(placements.status, 401);
    }
    assert_eq!(
        site.get("/session/placements", "").await.reason(),
        "no-session"
    );
    assert_eq!(site.session_rows().await, 0);
}

#[tokio::test]
async fn the_cookie_of_an_active_session_is_authenticated() {
    let site = Site::start("").await;
    let cookie = format!("berth={}", site.login().await);
    let authenticated = site.get("/is-authenticated", &cookie).await;
    assert_eq!(authenticated.json(), json!({"authenticated": true}));
    let placements = site.get("/session/placements", &cookie).await;
    assert_eq!(placements.json(), json!({"placements": []}));
}

#[tokio::test]
async fn duplicate_and_oversized_cookies_are_refused_without_a_lookup() {
    let site = Site::start("").await;
    let id = site.login().await;
    site.break_store().await;
    let long = format!("berth={}", "a".repeat(129));
    for (cookie, reason) in [
        (format!("berth={id}; berth={id}"), "cookie-duplicate"),
        (long, "cookie-too-long"),
    ] {
        for path in ["/session", "/is-authenticated", "/session/placements"] {
            let answer = site.get(path, &cookie).await;
            assert_eq!((answer.status, answer.reason().as_str()), (400, reason));
        }
    }
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let site = Site::start("").await;
    let id = site.login().await;
    site.clock.advance_ms(5 * MINUTE_MS);
    let before = site.token(&id).await.json();
    site.clock.advance_ms(MINUTE_MS);
    let site = site.restart("").await;
    let own = site.get("/session", &format!("berth={id}")).await.json();
    assert_eq!(own["account"], "demo");
    assert_eq!(
        own["idle_remaining_s"],
        29 * 60,
        "the last activity survived too"
    );
    let after = site.token(&id).await.json();
    assert_eq!(after["session_ref"], before["session_ref"]);
}

#[tokio::test]
async fn a_renewal_is_activity_and_is_stored_at_once() {
    let site = Site::start("").await;
    let cookie = format!("berth={}", site.login().await);
    site.clock.advance_ms(29 * MINUTE_MS);
    let renew = site.request(Method::POST, "/session/renew");
    let renewed = send_request(renew.header("cookie", &cookie)).await;
    assert_eq!(
        (renewed.status, renewed.header("cache-control")),
        (200, "no-store")
    );
    assert_eq!(renewed.json()["idle_remaining_s"], 30 * 60);
    assert_eq!(renewed.json(), site.get("/session", &cookie).await.json());
    let stored: i64 = sqlx::query_scalar("SELECT last_seen_at FROM sessions")
        .fetch_one(&site.database().await)
        .await
        .unwrap();
    assert_eq!(u64::try_from(stored).unwrap(), site.clock.now_ms());
}

#[tokio::test]
async fn an_ended_session_cannot_be_renewed() {
    let site = Site::start("").await;
    let id = site.login().await;
    let renew = |cookie: &str| {
        let request = site.request(Method::POST, "/session/renew");
        send_request(request.header("cookie", cookie.to_owned()))
    };
    let none = renew("").await;
    assert_eq!((none.status, none.reason().as_str()), (401, "no-session"));
    assert!(none.cookies().is_empty());
    site.clock.advance_ms(30 * MINUTE_MS);
    for (cookie, reason) in [
        (format!("berth={id}"), "session-expired"),
        (format!("berth={}", "A".repeat(43)), "unknown-session"),
    ] {
        let over = renew(&cookie).await;
        assert_eq!((over.status, over.reason().as_str()), (440, reason));
        // Each answer sets the same anonymous id and never the login cookie.
        assert_eq!(over.cookies(), renew(&cookie).await.cookies());
        assert!(over.cookies()[0].starts_with("berth-anon=") && over.cookies().len() == 1);
    }
}

#[tokio::test]
async fn a_cookie_for_frames_is_set_and_cleared_with_same_site_none() {
    let site = Site::start("session: { cookie: { secure: true, same_site: none } }").await;
    let form = format!("username=demo&password={PASSWORD}");
    let login = send_request(site.post_form("/login", &form)).await;
    assert_eq!(login.status, 303, "{login:?}");
    let cookie = format!("__Host-berth={}", session_id(&login));
    let attributes = "Path=/; HttpOnly; SameSite=None; Secure";
    assert_eq!(login.cookies()[0], format!("{cookie}; {attributes}"));
    assert_eq!(
        site.get("/session", &cookie).await.json()["account"],
        "demo"
    );
    let request = site.request(Method::POST, "/logout");
    let logout = send_request(request.header("cookie", &cookie)).await;
    let cleared = format!("__Host-berth=; {attributes}; Max-Age=0");
    assert_eq!(logout.cookies(), [cleared]);
}

#[tokio::test]
async fn other_sites_cannot_renew_a_session() {
    let site = Site::start("").await;
    let cookie = format!("berth={}", site.login().await);
    let request = site.request(Method::POST, "/session/renew");
    let request = request.header("cookie", cookie);
    let out = send_request(request.header("sec-fetch-site", "cross-site")).await;
    assert_eq!((out.status, out.reason().as_str()), (403, "cross-site"));
}

#[tokio::test]
async fn a_store_outage_is_not_reported_as_anonymous() {
    let site = Site::start("session: { cache: 0s, cookie: { secure: false } }").await;
    let cookie = format!("berth={}", site.login().await);
    site.break_store().await;
    for path in ["/session", "/is-authenticated", "/session/placements"] {
        let answer = site.get(path, &cookie).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (503, "store-down")
        );
        assert_eq!(answer.header("retry-after"), "1");
    }
}

#[tokio::test]
async fn the_store_contains_no_session_id_token_or_password() {
    let site = Site::start("").await;
    let id = site.login().await;
    let token = site.token(&id).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    for entry in std::fs::read_dir(site.directory()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [id.as_str(), token.as_str(), PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|w| w == secret.as_bytes()));
        }
    }
}

#[tokio::test]
async fn the_demo_page_needs_no_login() {
    let site = Site::start("").await;
    let page = send_request(site.request(Method::GET, "/")).await;
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-security-policy")
            .contains("frame-ancestors 'none'")
    );
    assert!(page.text.contains("/app/sales.qvf") && page.text.contains("/login?return_to="));
}
