//! Faults of a login through an OpenID provider. Each fault has its own reason.

use crate::fake_provider::{FakeProvider, Signing, now_s};
use crate::oidc::{
    log_in, login_session_id, oidc_config, request_callback, start_login, start_site,
};
use crate::site::{Site, send_request};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn a_callback_must_belong_to_a_login_of_this_browser() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let redirect = start_login(&site, "/login/oidc/idp").await;
    let other = start_login(&site, "/login/oidc/idp").await;
    let query = idp.authorize(&redirect.request);
    let code = query.split('&').next().unwrap();
    let (kept, last) = redirect.cookie.split_at(redirect.cookie.len() - 1);
    let tampered = format!("{kept}{}", if last == "A" { "Q" } else { "A" });
    let twice = format!("{query}&state=x");
    // The cookie of another login under the name of this one.
    let (name, _) = redirect.cookie.split_once('=').unwrap();
    let (_, sealed) = other.cookie.split_once('=').unwrap();
    let exchanged = format!("{name}={sealed}");
    let nonsense = format!("{name}=x");
    for (query, cookie, status, reason) in [
        (query.as_str(), "", 400, "login-state-missing"),
        (
            query.as_str(),
            other.cookie.as_str(),
            400,
            "login-state-missing",
        ),
        (
            query.as_str(),
            exchanged.as_str(),
            400,
            "login-state-mismatch",
        ),
        (
            query.as_str(),
            tampered.as_str(),
            400,
            "login-state-invalid",
        ),
        (
            query.as_str(),
            nonsense.as_str(),
            400,
            "login-state-invalid",
        ),
        (code, redirect.cookie.as_str(), 400, "login-state-missing"),
        (
            "code=x&state=",
            redirect.cookie.as_str(),
            400,
            "login-state-missing",
        ),
        (
            twice.as_str(),
            redirect.cookie.as_str(),
            400,
            "invalid-request",
        ),
    ] {
        let refused = request_callback(&site, query, cookie).await;
        let got = (refused.status, refused.reason());
        assert_eq!(got, (status, reason.to_owned()), "{query} {cookie}");
    }
    // None of these attempts has used the login up. A valid callback does.
    login_session_id(&request_callback(&site, &query, &redirect.cookie).await);
    let replayed = request_callback(&site, &query, &redirect.cookie).await;
    assert_eq!(
        (replayed.status, replayed.reason().as_str()),
        (400, "login-replayed")
    );
    site.clock.advance_ms(600_000);
    let late = request_callback(&site, &idp.authorize(&other.request), &other.cookie).await;
    assert_eq!(late.reason(), "login-state-invalid");
    assert_eq!(site.session_rows().await, 1);
}

#[tokio::test]
async fn a_refusal_of_the_provider_shows_a_page_with_a_login_link() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for (error, status, reason) in [
        ("access_denied", 403, "login-denied"),
        ("temporarily_unavailable", 502, "provider-refused"),
    ] {
        let redirect = start_login(&site, "/login/oidc/idp?return_to=%2Fapp%2Fx").await;
        let query = format!(
            "error={error}&error_description=x&state={}",
            redirect.request["state"]
        );
        let path = format!("/login/oidc/idp/callback?{query}");
        let page = site.get(&path, &redirect.cookie).await;
        assert_eq!(page.status, status);
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(page.text.contains("role=\"alert\""), "{}", page.text);
        let again = "href=\"/login/oidc/idp?return_to=%2Fapp%2Fx\">Log in with A &amp; B</a>";
        assert!(page.text.contains(again), "{}", page.text);
        let replayed = request_callback(&site, &query, &redirect.cookie).await;
        assert_eq!(replayed.reason(), "login-replayed");
        let metrics = site.get("/metrics", "").await.text;
        let line = format!("berth_refusals_total{{reason=\"{reason}\"}} 1");
        assert!(metrics.contains(&line), "{metrics}");
    }
    let redirect = start_login(&site, "/login/oidc/idp").await;
    let without_code = format!("state={}", redirect.request["state"]);
    let refused = request_callback(&site, &without_code, &redirect.cookie).await;
    assert_eq!(refused.reason(), "invalid-request");
    idp.behaviour().token_error = Some((400, json!({"error": "invalid_grant"})));
    assert_eq!(log_in(&site, &idp).await.reason(), "provider-refused");
    idp.behaviour().token_error = Some((200, json!({"access_token": "x", "token_type": "Bearer"})));
    assert_eq!(
        log_in(&site, &idp).await.reason(),
        "provider-response-invalid"
    );
    idp.behaviour().token_error = Some((500, json!("nonsense")));
    assert_eq!(
        log_in(&site, &idp).await.reason(),
        "provider-response-invalid"
    );
}

#[tokio::test]
async fn an_id_token_must_be_valid() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    for (claims, reason) in [
        (json!({"nonce": "another"}), "nonce-mismatch"),
        (json!({"nonce": null}), "nonce-mismatch"),
        (json!({"aud": "other"}), "id-token-invalid"),
        (json!({"aud": ["berth", "other"]}), "id-token-invalid"),
        (json!({"azp": "other"}), "id-token-invalid"),
        (json!({"iss": "https://evil.example"}), "id-token-invalid"),
        (json!({"exp": now_s() - 31}), "id-token-invalid"),
        (json!({"iat": now_s() - 700}), "id-token-invalid"),
        (json!({"iat": now_s() + 60}), "id-token-invalid"),
        (json!({"sub": null}), "id-token-invalid"),
    ] {
        idp.behaviour().claims = claims.clone();
        let refused = log_in(&site, &idp).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (502, reason),
            "{claims}"
        );
    }
    idp.behaviour().claims = json!({});
    for signing in [
        Signing::Unsigned,
        Signing::PublicAsSecret,
        Signing::UnpublishedKey,
    ] {
        idp.behaviour().signing = signing;
        assert_eq!(
            log_in(&site, &idp).await.reason(),
            "id-token-invalid",
            "{signing:?}"
        );
    }
    idp.behaviour().signing = Signing::Rs256("r1");
    login_session_id(&log_in(&site, &idp).await);
    assert_eq!(site.session_rows().await, 1);
}

#[tokio::test]
async fn the_answer_must_come_from_the_requested_provider() {
    let idp = FakeProvider::start().await;
    let good = start_site(&idp, "").await;
    let with_issuer = async |site: &Site, iss: &str| {
        let redirect = start_login(site, "/login/oidc/idp").await;
        let query = format!("{}{iss}", idp.authorize(&redirect.request));
        request_callback(site, &query, &redirect.cookie).await
    };
    let own = format!("&iss={}", idp.issuer());
    login_session_id(&with_issuer(&good, "").await);
    login_session_id(&with_issuer(&good, &own).await);
    let refused = with_issuer(&good, "&iss=https://evil.example").await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (400, "issuer-mismatch")
    );
    // A provider that announces the `iss` parameter must send it (RFC 9207).
    idp.behaviour().metadata = json!({"authorization_response_iss_parameter_supported": true});
    let strict = start_site(&idp, "").await;
    assert_eq!(with_issuer(&strict, "").await.reason(), "issuer-mismatch");
    login_session_id(&with_issuer(&strict, &own).await);
}

#[tokio::test]
async fn a_provider_outage_fails_only_its_own_logins_and_is_retried() {
    let idp = FakeProvider::start().await;
    idp.behaviour().down = true;
    let site = start_site(&idp, "").await;
    site.login().await;
    let begin_json = async || {
        let request = site.request(Method::GET, "/login/oidc/idp");
        send_request(request.header("accept", "application/json")).await
    };
    for _ in 0..3 {
        let down = begin_json().await;
        assert_eq!(
            (down.status, down.reason().as_str()),
            (503, "provider-unreachable")
        );
        assert_eq!(down.header("retry-after"), "2");
    }
    assert_eq!(idp.requests("/.well-known/openid-configuration"), 1);
    let page = site.get("/login/oidc/idp", "").await;
    assert_eq!(page.status, 503);
    assert!(page.text.contains("does not answer just now"));
    assert_eq!(page.header("retry-after"), "2");
    idp.behaviour().down = false;
    site.clock.advance_ms(1_000);
    login_session_id(&log_in(&site, &idp).await);
    // The service keeps the metadata of the provider during an outage. Requests that need the provider itself fail.
    idp.behaviour().down = true;
    let redirect = start_login(&site, "/login/oidc/idp").await;
    let refused =
        request_callback(&site, &idp.authorize(&redirect.request), &redirect.cookie).await;
    assert_eq!(refused.reason(), "provider-response-invalid");
    site.clock.advance_ms(3_600_000);
    start_login(&site, "/login/oidc/idp").await;
}

#[tokio::test]
async fn callbacks_have_their_own_rate_limit_and_junk_does_not_count() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "login: { rate: { per_minute: 30, burst: 2 } }").await;
    for _ in 0..20 {
        let junk = request_callback(&site, "code=x&state=y", "").await;
        assert_eq!(junk.reason(), "login-state-missing");
        let nonsense = request_callback(&site, "code=x&state=abc", "berth-oidc-ba7816bf=x").await;
        assert_eq!(nonsense.reason(), "login-state-invalid");
    }
    login_session_id(&log_in(&site, &idp).await);
    login_session_id(&log_in(&site, &idp).await);
    let redirect = start_login(&site, "/login/oidc/idp").await;
    let query = idp.authorize(&redirect.request);
    let refused = request_callback(&site, &query, &redirect.cookie).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (429, "too-many-logins")
    );
    assert_eq!(refused.header("retry-after"), "2");
    let path = format!("/login/oidc/idp/callback?{query}");
    let page = site.get(&path, &redirect.cookie).await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert_eq!((page.status, page.header("retry-after")), (429, "2"));
    // Password logins have their own limit. Each of the two limits leaves the other kind of login alone.
    site.login().await;
    site.login().await;
    let more = send_request(site.post_form("/login", "username=demo&password=x")).await;
    assert_eq!(more.status, 429);
    site.clock.advance_ms(2_000);
    login_session_id(&request_callback(&site, &query, &redirect.cookie).await);
}

#[tokio::test]
async fn a_provider_without_a_listener_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let site = Site::start(&oidc_config(&format!("http://127.0.0.1:{port}"), "")).await;
    assert_eq!(site.get("/login/oidc/idp", "").await.status, 503);
    let unknown = site.get("/login/oidc/other", "").await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.text.contains("no login provider of that name"));
}

#[tokio::test]
async fn invalid_provider_metadata_is_not_used() {
    let idp = FakeProvider::start().await;
    for metadata in [
        json!({"issuer": "https://evil.example"}),
        json!({"token_endpoint": "http://evil.example/token"}),
        json!({"authorization_endpoint": "javascript:alert(1)"}),
        json!({"jwks_uri": "http://evil.example/jwks"}),
        json!({"authorization_endpoint": null}),
    ] {
        idp.behaviour().metadata = metadata.clone();
        let site = start_site(&idp, "").await;
        let request = site.request(Method::GET, "/login/oidc/idp");
        let refused = send_request(request.header("accept", "application/json")).await;
        assert_eq!(refused.reason(), "provider-response-invalid", "{metadata}");
        assert!(refused.cookies().is_empty());
    }
}
