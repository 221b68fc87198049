//! `/login/account`: users see and end their logins and change their password, with forms or JSON.

use crate::events::CLIENTS;
use crate::fake_provider::FakeProvider;
use crate::oidc::{log_in, login_session_id, oidc_config};
use crate::site::{Answer, PASSWORD, Site, send_request};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const NEW_PASSWORD: &str = "another-password";

fn with_session(request: RequestBuilder, id: &str) -> RequestBuilder {
    request.header("cookie", format!("berth={id}"))
}

async fn post_json(site: &Site, path: &str, id: &str, body: Value) -> Answer {
    let request = site.request(Method::POST, path).body(body.to_string());
    send_request(with_session(request, id).header("content-type", "application/json")).await
}

async fn end(site: &Site, id: &str, session: &str) -> Answer {
    let body = json!({ "session": session });
    post_json(site, "/login/account/sessions/end", id, body).await
}

async fn change(site: &Site, id: &str, current: &str, new: &str) -> Answer {
    let body = json!({"current_password": current, "new_password": new});
    post_json(site, "/login/account/password", id, body).await
}

/// The `session_ref` of each listed login; `*` marks the current one.
async fn listed(site: &Site, id: &str) -> Vec<String> {
    let answer = site
        .get("/login/account/sessions", &format!("berth={id}"))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let sessions = answer.json()["sessions"].as_array().unwrap().clone();
    let text = |login: &Value| {
        let mark = if login["current"] == true { "*" } else { "" };
        format!("{mark}{}", login["session_ref"].as_str().unwrap())
    };
    sessions.iter().map(text).collect()
}

async fn is_active(site: &Site, id: &str) -> bool {
    site.token(id).await.status == 200
}

#[tokio::test]
async fn users_see_and_end_the_logins_of_their_own_account_only() {
    let idp = FakeProvider::start().await;
    idp.behaviour().claims = json!({"sub": "demo"});
    let site = Site::start(&oidc_config(&idp.issuer(), "")).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(site.login().await);
        site.clock.advance_ms(1_000);
    }
    let mut refs = Vec::new();
    for id in &ids {
        refs.push(site.session_ref(id).await);
    }
    let foreign = login_session_id(&log_in(&site, &idp).await);
    let foreign_ref = site.session_ref(&foreign).await;
    let own = [refs[0].clone(), format!("*{}", refs[1]), refs[2].clone()];
    assert_eq!(listed(&site, &ids[1]).await, own);
    assert_eq!(listed(&site, &foreign).await, [format!("*{foreign_ref}")]);
    for unknown in [foreign_ref.as_str(), "no-such-session"] {
        let refused = end(&site, &ids[1], unknown).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (404, "no-such-session")
        );
    }
    assert!(is_active(&site, &foreign).await);
    let ended = end(&site, &ids[1], &refs[0]).await;
    assert_eq!((ended.status, ended.json()), (200, json!({"ended": 1})));
    assert!(!is_active(&site, &ids[0]).await && is_active(&site, &ids[2]).await);
    assert_eq!(
        end(&site, &ids[1], "others").await.json(),
        json!({"ended": 1})
    );
    assert!(is_active(&site, &ids[1]).await && !is_active(&site, &ids[2]).await);
    assert!(is_active(&site, &foreign).await);
}

#[tokio::test]
async fn child_sessions_belong_to_their_login() {
    let site = Site::start(CLIENTS).await;
    let (here, there) = (site.login().await, site.login().await);
    let mut children = Vec::new();
    for parent in [&here, &there] {
        let path = format!("/v1/sessions/{}/children", site.session_ref(parent).await);
        let request = site.request(Method::POST, &path).body("{}");
        let answer =
            send_request(request.header("authorization", "Bearer operator-secret-1")).await;
        children.push(answer.json()["id"].as_str().unwrap().to_owned());
    }
    // In the child, the login that it descends from is the current one.
    let expected = [
        format!("*{}", site.session_ref(&here).await),
        site.session_ref(&there).await,
    ];
    let mut shown = listed(&site, &children[0]).await;
    shown.sort();
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(shown, expected);
    assert_eq!(
        change(&site, &children[0], PASSWORD, NEW_PASSWORD)
            .await
            .status,
        200
    );
    assert!(is_active(&site, &here).await && is_active(&site, &children[0]).await);
    assert!(!is_active(&site, &there).await && !is_active(&site, &children[1]).await);
}

#[tokio::test]
async fn a_new_password_ends_the_other_logins() {
    let site = Site::start("login: { rate: null, lockout: { max_failures: 3 } }").await;
    let (id, other) = (site.login().await, site.login().await);
    for (current, new, status, reason) in [
        ("wrong", NEW_PASSWORD, 401, "login-failed"),
        (PASSWORD, "short", 400, "invalid-request"),
        (PASSWORD, "", 400, "invalid-request"),
    ] {
        let refused = change(&site, &id, current, new).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (status, reason)
        );
    }
    assert!(is_active(&site, &other).await);
    let changed = change(&site, &id, PASSWORD, NEW_PASSWORD).await;
    assert_eq!(
        (changed.status, changed.json()),
        (200, json!({"ended": 1})),
        "{changed:?}"
    );
    let [device] = changed.cookies()[..] else {
        panic!("{changed:?}")
    };
    assert!(device.starts_with("berth-device="), "{device}");
    assert!(is_active(&site, &id).await && !is_active(&site, &other).await);
    for (password, status) in [(PASSWORD, 401), (NEW_PASSWORD, 200)] {
        let body = json!({"username": "demo", "password": password});
        assert_eq!(site.post_json("/login", body).await.status, status);
    }
    // Guesses of the current password count like failed logins.
    for _ in 0..3 {
        assert_eq!(change(&site, &id, "wrong", NEW_PASSWORD).await.status, 401);
    }
    assert_eq!(
        change(&site, &id, NEW_PASSWORD, PASSWORD).await.status,
        401,
        "locked"
    );
}

#[tokio::test]
async fn changes_need_a_session_and_a_page_of_this_site() {
    let site = Site::start("").await;
    let id = site.login().await;
    for (path, body) in [
        ("/login/account/sessions/end", json!({"session": "others"})),
        (
            "/login/account/password",
            json!({"current_password": PASSWORD, "new_password": NEW_PASSWORD}),
        ),
    ] {
        let request = || {
            let request = site.request(Method::POST, path).body(body.to_string());
            request.header("content-type", "application/json")
        };
        let foreign = with_session(request(), &id).header("origin", "https://evil.example");
        assert_eq!(send_request(foreign).await.reason(), "cross-site", "{path}");
        let anonymous = send_request(request()).await;
        assert_eq!(
            (anonymous.status, anonymous.reason().as_str()),
            (401, "no-session")
        );
        let stale = send_request(with_session(request(), &"A".repeat(43))).await;
        assert_eq!(
            (stale.status, stale.reason().as_str()),
            (440, "unknown-session")
        );
        let plain = with_session(site.request(Method::POST, path), &id).body("x");
        assert_eq!(send_request(plain).await.reason(), "unsupported-media-type");
    }
    assert!(is_active(&site, &id).await);
    assert_eq!(site.get("/login/account/sessions", "").await.status, 401);
}

#[tokio::test]
async fn the_page_works_without_scripts() {
    let site = Site::start("login: { rate: null }").await;
    let without = site.get("/login/account", "").await;
    let login = "/login?return_to=%2Flogin%2Faccount";
    assert_eq!((without.status, without.header("location")), (303, login));
    let (id, other) = (site.login().await, site.login().await);
    let cookie = format!("berth={id}");
    let page = site.get("/login/account", &cookie).await;
    assert_eq!(page.status, 200);
    assert!(
        !page
            .header("content-security-policy")
            .contains("script-src")
    );
    let other_ref = site.session_ref(&other).await;
    assert!(page.text.contains(&format!("value=\"{other_ref}\"")));
    assert!(
        !page.text.contains(&site.session_ref(&id).await),
        "no button for the own login"
    );
    let post = async |path: &str, body: &str| {
        send_request(with_session(site.post_form(path, body), &id)).await
    };
    let ended = post(
        "/login/account/sessions/end",
        &format!("session={other_ref}"),
    )
    .await;
    let done = "/login/account?done=sessions";
    assert_eq!((ended.status, ended.header("location")), (303, done));
    assert!(
        site.get(done, &cookie)
            .await
            .text
            .contains("The login has ended.")
    );
    let wrong = post(
        "/login/account/password",
        "current_password=wrong&new_password=long-enough",
    )
    .await;
    assert_eq!(wrong.status, 401);
    assert!(wrong.text.contains("role=\"alert\"") && wrong.text.contains("is wrong"));
    let body = format!("current_password={PASSWORD}&new_password={NEW_PASSWORD}");
    let changed = post("/login/account/password", &body).await;
    let done = "/login/account?done=password";
    assert_eq!((changed.status, changed.header("location")), (303, done));
    assert!(
        site.get(done, &cookie)
            .await
            .text
            .contains("has been changed")
    );
}

#[tokio::test]
async fn an_account_of_a_provider_has_no_password_here() {
    let idp = FakeProvider::start().await;
    let site = Site::start(&oidc_config(&idp.issuer(), "")).await;
    let id = login_session_id(&log_in(&site, &idp).await);
    let refused = change(&site, &id, PASSWORD, NEW_PASSWORD).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (403, "no-password")
    );
    let page = site.get("/login/account", &format!("berth={id}")).await;
    assert!(!page.text.contains("new_password"));
}
