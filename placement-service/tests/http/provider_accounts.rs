//! Accounts of OpenID providers: real names, the namespace of the provider, locks, and how engines and other services
//! know the accounts.

use crate::accounts::run_account_with;
use crate::events::CLIENTS;
use crate::fake_provider::FakeProvider;
use crate::oidc::{log_in, login_session_id, oidc_config, token_claims};
use crate::site::{Answer, PASSWORD, Site, eventually, send_request};
use crate::transmitter::{REVOKED, Transmitter, push_event};
use crate::webhook_caep::caep_config;
use crate::webhook_receiver::Receiver;
use crate::webhooks::logout;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};

/// A site with the provider `idp`; `settings` are further settings of the provider.
async fn start_site(idp: &FakeProvider, settings: &str, more: &str) -> Site {
    let config = oidc_config(&idp.issuer(), &format!("{CLIENTS}{more}"));
    let config = config.replace("title: 'A & B',", &format!("title: 'A & B', {settings}"));
    Site::start(&config).await
}

async fn operator(site: &Site, method: Method, path: &str) -> Answer {
    let request = site.request(method, path);
    send_request(request.header("authorization", "Bearer operator-secret-1")).await
}

async fn own_session(site: &Site, id: &str) -> Value {
    site.get("/session", &format!("berth={id}")).await.json()
}

#[tokio::test]
async fn names_of_real_providers_log_in_and_reach_the_engine_unchanged() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "", "").await;
    for name in [
        "auth0|5f7c8ec7",
        "o'brien@example.com",
        "guest_ext.com#EXT#@tenant.onmicrosoft.com",
        "CN=Zoë \"the\" Countess, OU=R&D",
    ] {
        idp.behaviour().claims = json!({"sub": name, "name": "Zoë O'Brien"});
        let id = login_session_id(&log_in(&site, &idp).await);
        let own = own_session(&site, &id).await;
        assert_eq!(
            (&own["account"], &own["display_name"], &own["provider"]),
            (
                &json!(format!("idp:{name}")),
                &json!("Zoë O'Brien"),
                &json!("idp")
            )
        );
        assert_eq!(token_claims(&site, &id).await["sub"], name);
        let query: String =
            form_urlencoded::byte_serialize(format!("idp:{name}").as_bytes()).collect();
        let path = format!("/v1/sessions?account={query}");
        let listed = operator(&site, Method::GET, &path).await.json();
        let [listed] = &listed["sessions"].as_array().unwrap()[..] else {
            panic!("{listed}")
        };
        assert_eq!(
            (&listed["account"], &listed["display_name"]),
            (&own["account"], &own["display_name"])
        );
    }
}

#[tokio::test]
async fn a_claim_that_cannot_name_an_account_is_refused() {
    let idp = FakeProvider::start().await;
    for (settings, claims) in [
        ("account_claim: nick,", json!({"nick": "a\u{202e}b"})),
        ("account_claim: nick,", json!({"nick": ["a"]})),
        ("account_claim: nick,", json!({})),
        (
            "account_claim: email,",
            json!({"email": "ada@example.com", "email_verified": false}),
        ),
    ] {
        idp.behaviour().claims = claims;
        let site = start_site(&idp, settings, "").await;
        let refused = log_in(&site, &idp).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (403, "account-name-unusable")
        );
        assert!(
            !refused.text.contains("nick"),
            "claims are for the log only"
        );
    }
}

#[tokio::test]
async fn a_providers_demo_is_not_the_local_demo() {
    let idp = FakeProvider::start().await;
    idp.behaviour().claims = json!({"sub": "demo"});
    let site = start_site(
        &idp,
        "",
        "session: { cookie: { secure: false }, max_per_account: 1 }",
    )
    .await;
    let local = site.login().await;
    let theirs = login_session_id(&log_in(&site, &idp).await);
    for (id, account) in [(&local, "demo"), (&theirs, "idp:demo")] {
        assert_eq!(own_session(&site, id).await["account"], account);
        let listed = operator(
            &site,
            Method::GET,
            &format!("/v1/sessions?account={account}"),
        )
        .await;
        let listed = listed.json()["sessions"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{account}");
        assert_eq!(listed[0]["session_ref"], site.session_ref(id).await);
    }
    let ended = operator(&site, Method::DELETE, "/v1/sessions?account=demo").await;
    assert_eq!(ended.json()["ended"], 1);
    assert_eq!(site.token(&local).await.reason(), "unknown-session");
    assert_eq!(site.token(&theirs).await.status, 200);
    let login = json!({"username": "idp:demo", "password": PASSWORD});
    assert_eq!(
        site.post_json("/login", login).await.reason(),
        "login-failed"
    );
}

#[tokio::test]
async fn a_lock_reaches_an_account_that_has_no_row() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "", "").await;
    let oidc = oidc_config(&idp.issuer(), "");
    let account = |arguments: &[&str]| run_account_with(&site, &oidc, arguments);
    let local = site.login().await;
    let id = login_session_id(&log_in(&site, &idp).await);
    let (code, out, err) = account(&["lock", "idp:u-1"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "locked idp:u-1; 1 session ended"),
        "{err}"
    );
    eventually("the session has ended", async || {
        site.token(&id).await.status != 200
    })
    .await;
    for _ in 0..2 {
        let refused = log_in(&site, &idp).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (403, "account-locked")
        );
    }
    assert_eq!(site.session_rows().await, 1, "the local session");
    assert_eq!(site.token(&local).await.status, 200);
    assert_eq!(
        account(&["lock", "idp:u-1"]).1,
        "locked idp:u-1; 0 sessions ended"
    );
    let listed = account(&["ls", "-o", "json"]).1;
    let open = json!({"account": "demo", "roles": ["user"], "state": "open", "failures": 0, "locked_until": null});
    let locked = json!({"account": "idp:u-1", "roles": [], "state": "locked", "failures": 0, "locked_until": null});
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed, json!([open, locked]));
    assert_eq!(account(&["unlock", "idp:u-1"]).1, "unlocked idp:u-1");
    login_session_id(&log_in(&site, &idp).await);
    for (arguments, expected) in [
        (
            &["unlock", "idp:u-1"][..],
            "the account \"idp:u-1\" is not locked",
        ),
        (
            &["lock", "ipd:u-1"],
            "\"ipd:u-1\": the configuration has no OpenID provider \"ipd\"",
        ),
        (
            &["lock", "idp:a\u{200b}"],
            "the name contains '\\u{200b}', which is not printable",
        ),
        (
            &["roles", "idp:u-1", "--role", "user"],
            "\"idp:u-1\" is an account of a provider: its password and roles are not kept here",
        ),
    ] {
        let (code, _, err) = account(arguments);
        assert_eq!(code, Some(1));
        assert!(err.contains(expected), "{err}");
    }
}

#[tokio::test]
async fn engines_know_accounts_by_the_configured_subject() {
    let idp = FakeProvider::start().await;
    let site = start_site(&idp, "", "tokens: { subject: '{provider}/{account}' }").await;
    let id = login_session_id(&log_in(&site, &idp).await);
    assert_eq!(token_claims(&site, &id).await["sub"], "idp/idp:u-1");
    let local = site.login().await;
    assert_eq!(token_claims(&site, &local).await["sub"], "/demo");
    // A program that sends the token belongs to the session, whatever the subject is.
    let token = site.token(&id).await.json()["token"].clone();
    let answer = site
        .post_json("/v1/tokens", json!({ "token": token }))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["account"]),
        (200, &json!("idp:u-1"))
    );
    assert_eq!(answer.json()["display_name"], "ada");
}

#[tokio::test]
async fn a_transmitter_names_accounts_in_the_namespace_of_its_provider() {
    let idp = FakeProvider::start().await;
    let issuer = "https://idp.example";
    let transmitter = Transmitter::start(issuer).await;
    let more = format!(
        "security_events: {{ audience: berth-events, max_age: 1h, transmitters: [\
         {{ name: idp, issuer: \"{issuer}\", jwks: {{ url: \"{}\" }}, provider: idp, account_by: email }} ] }}\n",
        transmitter.jwks_url
    );
    let site = start_site(&idp, "account_claim: email,", &more).await;
    idp.behaviour().claims = json!({"email": "demo", "email_verified": true});
    let local = site.login().await;
    for (number, subject) in [
        json!({"format": "email", "email": "demo"}),
        json!({"format": "account", "uri": "acct:ada@example.com"}),
        json!({"format": "iss_sub", "iss": issuer, "sub": "u-1"}),
    ]
    .into_iter()
    .enumerate()
    {
        if number == 1 {
            idp.behaviour().claims = json!({"email": "ada@example.com", "email_verified": true});
        }
        let id = login_session_id(&log_in(&site, &idp).await);
        let claims = transmitter.claims(
            site.clock.now_s(),
            &number.to_string(),
            REVOKED,
            subject.clone(),
        );
        assert_eq!(
            push_event(&site, transmitter.sign(&claims)).await.status,
            202
        );
        assert_eq!(
            site.token(&id).await.reason(),
            "unknown-session",
            "{subject}"
        );
        assert_eq!(site.token(&local).await.status, 200, "{subject}");
    }
}

#[tokio::test]
async fn a_security_event_for_others_has_the_subject_of_the_tokens() {
    let idp = FakeProvider::start().await;
    let receiver = Receiver::start().await;
    let config = oidc_config(&idp.issuer(), &caep_config(&receiver));
    let site = Site::start(&config).await;
    let id = login_session_id(&log_in(&site, &idp).await);
    logout(&site, &id).await;
    let taken = receiver.wait_for_accepted(1).await;
    let claims = std::str::from_utf8(&taken[0].body).unwrap();
    let claims = claims.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert_eq!(claims["sub_id"]["user"]["sub"], "u-1");
}
