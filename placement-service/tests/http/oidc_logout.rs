//! Logout at the OpenID provider.

use crate::fake_provider::{FakeProvider, Fields};
use crate::oidc::{log_in, login_session_id, oidc_config, start_site};
use crate::site::{Answer, Site, send_request};
use reqwest::Method;
use serde_json::json;

async fn log_out(site: &Site, id: &str, form: bool) -> Answer {
    let request = if form {
        site.post_form("/logout", "")
    } else {
        site.request(Method::POST, "/logout")
    };
    send_request(request.header("cookie", format!("berth={id}"))).await
}

fn parse_query(url: &str) -> Fields {
    let (_, query) = url.split_once('?').unwrap();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

#[tokio::test]
async fn a_logout_redirects_to_the_logout_page_of_the_provider() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let (first, second) = (log_in(&site, &idp).await, log_in(&site, &idp).await);
    let (first, second) = (login_session_id(&first), login_session_id(&second));
    let out = log_out(&site, &first, true).await;
    assert_eq!(out.status, 303);
    let location = out.header("location");
    assert!(
        location.starts_with(&format!("{}/end?tenant=a&", idp.issuer())),
        "{location}"
    );
    let fields = parse_query(location);
    assert_eq!(fields["client_id"], "berth");
    let back = format!("http://{}/login", site.address);
    assert_eq!(fields["post_logout_redirect_uri"], back);
    assert_eq!(fields["id_token_hint"].split('.').count(), 3);
    assert_eq!(fields["state"], "logged-out");
    assert!(out.cookies()[0].starts_with("berth=;"));
    assert_eq!(site.token(&first).await.reason(), "unknown-session");

    let out = log_out(&site, &second, false).await;
    assert_eq!(out.status, 200);
    let url = out.json()["logout_url"].as_str().unwrap().to_owned();
    assert_eq!(parse_query(&url)["id_token_hint"].split('.').count(), 3);

    // A session of a local account has no provider.
    let local = site.login().await;
    assert_eq!(log_out(&site, &local, false).await.status, 204);
}

#[tokio::test]
async fn the_id_token_hint_is_encrypted_in_the_store_and_optional_for_logout() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let id = login_session_id(&log_in(&site, &idp).await);
    let hint = sqlx::query_scalar::<_, String>("SELECT provider_hint FROM sessions");
    let hint = hint.fetch_one(&site.database().await).await.unwrap();
    assert!(!hint.contains('.') && hint.len() > 100);
    for file in std::fs::read_dir(site.directory()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(3).any(|w| w == b"eyJ"), "a JWT in the store");
    }
    let spoil = sqlx::query("UPDATE sessions SET provider_hint = 'AAAA'");
    spoil.execute(&site.database().await).await.unwrap();
    let out = log_out(&site, &id, true).await;
    let fields = parse_query(out.header("location"));
    assert_eq!(fields["client_id"], "berth");
    assert!(!fields.contains_key("id_token_hint"));
}

#[tokio::test]
async fn without_a_usable_logout_page_the_logout_is_local() {
    let idp = FakeProvider::start().await;
    for endpoint in [
        json!(null),
        json!(""),
        json!(5),
        json!("http://evil.example/end"),
    ] {
        idp.behaviour().metadata = json!({ "end_session_endpoint": endpoint });
        let site = start_site(&idp, "").await;
        let id = login_session_id(&log_in(&site, &idp).await);
        let out = log_out(&site, &id, true).await;
        let page = "/login?state=logged-out";
        assert_eq!((out.status, out.header("location")), (303, page));
    }
    idp.behaviour().metadata = json!({});
    let site = start_site(&idp, "").await;
    let id = login_session_id(&log_in(&site, &idp).await);
    idp.behaviour().down = true;
    let site = site.restart(&oidc_config(&idp.issuer(), "")).await;
    assert_eq!(log_out(&site, &id, false).await.status, 204);
    assert_eq!(site.token(&id).await.reason(), "unknown-session");
}

#[tokio::test]
async fn after_a_logout_the_only_provider_does_not_log_in_again() {
    let idp = FakeProvider::start().await;
    idp.behaviour().metadata = json!({"end_session_endpoint": null});
    let site = start_site(&idp, "login: { local: false }").await;
    for form in [true, false] {
        let id = login_session_id(&log_in(&site, &idp).await);
        let out = log_out(&site, &id, form).await;
        let next = if form {
            out.header("location").to_owned()
        } else {
            out.json()["logout_url"].as_str().unwrap().to_owned()
        };
        let page = site.get(&next, "").await;
        assert_eq!(page.status, 200, "{page:?}");
        let notice = "<p role=\"status\">You are logged out.</p>";
        assert!(page.text.contains(notice), "{}", page.text);
        let link = "href=\"/login/oidc/idp\">Log in with A &amp; B</a>";
        assert!(page.text.contains(link), "{}", page.text);
        assert!(!page.text.contains("password"));
    }
    // The provider returns here after its own logout, whether or not the user has confirmed that.
    let back = site
        .get("/login?return_to=%2Fapp&state=logged-out", "")
        .await;
    assert_eq!(back.status, 200);
    assert!(back.text.contains("/login/oidc/idp?return_to=%2Fapp"));
    assert_eq!(site.get("/login?state=other", "").await.status, 303);
}
