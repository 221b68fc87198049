//! Login through an OpenID provider.

use crate::fake_provider::{FakeProvider, Fields, SECRET};
use crate::site::{Answer, Site, send_request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};

pub(crate) async fn start_site(idp: &FakeProvider, more: &str) -> Site {
    Site::start(&oidc_config(&idp.issuer(), more)).await
}

pub(crate) fn oidc_config(issuer: &str, more: &str) -> String {
    format!(
        "oidc:\n  - {{ name: idp, title: 'A & B', issuer: '{issuer}', client_id: berth, client_secret: {{ inline: \"{SECRET}\" }}, \
         scopes: [profile], token_claims: [tenant], \
         roles: {{ claim: groups, map: {{ idp-admins: admin, staff: user }} }} }}\n{more}"
    )
}

/// A login that has been redirected to the provider.
pub(crate) struct AuthorizationRedirect {
    pub(crate) request: Fields,
    pub(crate) cookie: String,
}

pub(crate) async fn start_login(site: &Site, path: &str) -> AuthorizationRedirect {
    let answer = site.get(path, "").await;
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store");
    let (_, query) = answer.header("location").split_once("/authorize?").unwrap();
    let [set] = answer.cookies()[..] else {
        panic!("{answer:?}")
    };
    assert!(set.starts_with("berth-oidc-"), "{set}");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"),
        "{set}"
    );
    AuthorizationRedirect {
        request: form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        cookie: set.split(';').next().unwrap().to_owned(),
    }
}

pub(crate) async fn request_callback(site: &Site, query: &str, cookie: &str) -> Answer {
    let request = site.request(Method::GET, &format!("/login/oidc/idp/callback?{query}"));
    send_request(
        request
            .header("cookie", cookie)
            .header("accept", "application/json"),
    )
    .await
}

/// A complete login. Returns the answer to the callback.
pub(crate) async fn log_in(site: &Site, idp: &FakeProvider) -> Answer {
    let redirect = start_login(site, "/login/oidc/idp").await;
    request_callback(site, &idp.authorize(&redirect.request), &redirect.cookie).await
}

/// The session id in the cookie that a login sets.
pub(crate) fn login_session_id(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    let [set, clear] = answer.cookies()[..] else {
        panic!("{answer:?}")
    };
    assert!(
        clear.starts_with("berth-oidc-") && clear.contains("=;") && clear.ends_with("Max-Age=0"),
        "{clear}"
    );
    let value = set.strip_prefix("berth=").unwrap();
    value.split(';').next().unwrap().to_owned()
}

/// The claims of the token that engines get for a session.
pub(crate) async fn token_claims(site: &Site, id: &str) -> Value {
    let token = site.token(id).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    serde_json::from_slice(&claims).unwrap()
}

#[tokio::test]
async fn a_login_redirects_to_the_provider_and_back_with_mapped_roles() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let redirect = start_login(&site, "/login/oidc/idp?return_to=%2Fapp%2Fx%3Fa%3D1").await;
    assert_eq!(redirect.request["scope"], "openid profile");
    let back = format!("http://{}/login/oidc/idp/callback", site.address);
    assert_eq!(redirect.request["redirect_uri"], back);
    let done = request_callback(&site, &idp.authorize(&redirect.request), &redirect.cookie).await;
    let id = login_session_id(&done);
    assert_eq!(done.header("location"), "/app/x?a=1");
    let own = site.get("/session", &format!("berth={id}")).await.json();
    assert_eq!(
        (&own["account"], &own["display_name"], &own["roles"]),
        (&json!("idp:u-1"), &json!("ada"), &json!(["user"]))
    );
    let claims = token_claims(&site, &id).await;
    assert_eq!(
        (&claims["sub"], &claims["roles"]),
        (&json!("u-1"), &json!(["user"]))
    );
    assert_eq!(claims["tenant"], "t1");
    // The ID token had all claims, and the keys were fetched only once.
    assert_eq!(idp.requests("/userinfo"), 0);
    login_session_id(&log_in(&site, &idp).await);
    assert_eq!(idp.requests("/jwks"), 1);
    let metrics = site.get("/metrics", "").await.text;
    assert!(
        metrics.contains("berth_logins_total{result=\"ok\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_login_ends_the_previous_session() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let old = site.login().await;
    let redirect = start_login(&site, "/login/oidc/idp").await;
    let cookies = format!("{}; berth={old}", redirect.cookie);
    let done = request_callback(&site, &idp.authorize(&redirect.request), &cookies).await;
    assert_ne!(login_session_id(&done), old);
    assert_eq!(site.token(&old).await.reason(), "unknown-session");
    assert_eq!(site.session_rows().await, 1);
}

#[tokio::test]
async fn claims_decide_the_account_and_whether_it_is_permitted() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    idp.behaviour().claims = json!({"groups": ["visitors"]});
    let refused = log_in(&site, &idp).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (403, "not-permitted")
    );
    // The userinfo endpoint adds claims that the ID token lacks. It does not change claims of the ID token.
    idp.behaviour().claims = json!({"groups": null, "preferred_username": null});
    let info = json!({"sub": "u-1", "groups": ["idp-admins"], "preferred_username": "eve", "tenant": "t2"});
    idp.behaviour().userinfo = info;
    let id = login_session_id(&log_in(&site, &idp).await);
    let claims = token_claims(&site, &id).await;
    assert_eq!(claims["sub"], "u-1");
    let own = site.get("/session", &format!("berth={id}")).await.json();
    assert_eq!(own["display_name"], "eve");
    assert_eq!(
        (&claims["roles"], &claims["tenant"]),
        (&json!(["admin"]), &json!("t1"))
    );
    idp.behaviour().userinfo = json!({"sub": "u-2", "groups": ["idp-admins"]});
    assert_eq!(
        log_in(&site, &idp).await.reason(),
        "provider-response-invalid"
    );
}

#[tokio::test]
async fn an_id_token_may_have_audiences_that_the_configuration_trusts() {
    let idp = FakeProvider::start().await;
    let config = oidc_config(&idp.issuer(), "").replace(
        "client_id: berth,",
        "client_id: berth, trusted_audiences: ['project-1'],",
    );
    let site = Site::start(&config).await;
    idp.behaviour().claims = json!({"aud": ["project-1", "berth"], "azp": "berth"});
    login_session_id(&log_in(&site, &idp).await);
    for aud in [json!(["project-2", "berth"]), json!(["project-1"])] {
        idp.behaviour().claims = json!({ "aud": aud });
        assert_eq!(log_in(&site, &idp).await.reason(), "id-token-invalid");
    }
}

#[tokio::test]
async fn a_strict_cookie_is_set_with_a_page_that_goes_on_by_itself() {
    let idp = FakeProvider::start().await;
    let strict = "session: { cookie: { secure: false, same_site: strict } }";
    let site = start_site(&idp, strict).await;
    let redirect = start_login(
        &site,
        "/login/oidc/idp?return_to=%2Fapp%2Fx%3Fa%3D1%26b%3D2",
    )
    .await;
    let page = request_callback(&site, &idp.authorize(&redirect.request), &redirect.cookie).await;
    assert_eq!(page.status, 200, "{page:?}");
    let refresh = "<meta http-equiv=\"refresh\" content=\"0; url=/app/x?a=1&amp;b=2\">";
    assert!(page.text.contains(refresh), "{}", page.text);
    assert_eq!(page.header("cache-control"), "no-store");
    let [set, cleared] = page.cookies()[..] else {
        panic!("{page:?}")
    };
    assert!(
        set.starts_with("berth=") && set.contains("SameSite=Strict"),
        "{set}"
    );
    assert!(cleared.ends_with("Max-Age=0"), "{cleared}");
}

#[tokio::test]
async fn two_tabs_of_one_browser_can_log_in_concurrently() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let first = start_login(&site, "/login/oidc/idp").await;
    let second = start_login(&site, "/login/oidc/idp").await;
    let cookies = format!("{}; {}", first.cookie, second.cookie);
    let name =
        |redirect: &AuthorizationRedirect| redirect.cookie.split('=').next().unwrap().to_owned();
    for redirect in [first, second] {
        let done = request_callback(&site, &idp.authorize(&redirect.request), &cookies).await;
        login_session_id(&done);
        let cleared = done.cookies()[1].split('=').next().unwrap().to_owned();
        assert_eq!(cleared, name(&redirect), "and not the other's");
    }
}

#[tokio::test]
async fn abandoned_logins_do_not_accumulate_cookies() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "").await;
    let mut cookies = Vec::new();
    for _ in 0..5 {
        let all = cookies.join("; ");
        let redirect = site.get("/login/oidc/idp", &all).await;
        let [set] = redirect.cookies()[..] else {
            panic!("{redirect:?}")
        };
        cookies.push(set.split(';').next().unwrap().to_owned());
    }
    let sixth = site.get("/login/oidc/idp", &cookies.join("; ")).await;
    let set = sixth.cookies();
    assert_eq!(set.len(), 6);
    let (last, given_up) = set.split_last().unwrap();
    assert!(given_up.iter().all(|set| set.ends_with("Max-Age=0")));
    assert!(last.ends_with("Max-Age=600"));
}

#[tokio::test]
async fn the_login_page_offers_the_configured_methods() {
    let idp = FakeProvider::start().await;
    let both = start_site(&idp, "").await;
    let page = both.get("/login?return_to=%2Fapp%2Fx", "").await;
    assert!(page.text.contains("name=\"password\""));
    assert!(
        page.text
            .contains("href=\"/login/oidc/idp?return_to=%2Fapp%2Fx\"")
    );
    let demo = both.get("/", "").await;
    let policy = demo.header("content-security-policy");
    assert!(
        policy.contains(&format!("form-action 'self' {};", idp.issuer())),
        "{policy}"
    );

    let only = start_site(
        &idp,
        "login: { local: false, public_url: 'https://app.example' }",
    )
    .await;
    let page = only.get("/login?return_to=%2Fapp%2Fx", "").await;
    let there = "/login/oidc/idp?return_to=%2Fapp%2Fx";
    assert_eq!((page.status, page.header("location")), (303, there));
    let refused =
        send_request(only.post_form("/login", "username=demo&password=demo-password")).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (403, "local-login-disabled")
    );
    let redirect = start_login(&only, "/login/oidc/idp").await;
    let back = "https://app.example/login/oidc/idp/callback";
    assert_eq!(redirect.request["redirect_uri"], back);
    let failed = only.get("/login/oidc/idp/callback", "").await;
    assert!(!failed.text.contains("password") && failed.text.contains("A &amp; B"));

    let two = oidc_config(&idp.issuer(), "login: { local: false }");
    let second = two
        .lines()
        .nth(1)
        .unwrap()
        .replace("name: idp", "name: second");
    let two = two.replacen("oidc:\n", &format!("oidc:\n{second}\n"), 1);
    let page = Site::start(&two).await.get("/login", "").await;
    assert_eq!(
        (page.status, page.text.matches("class=\"button\"").count()),
        (200, 2)
    );
}
