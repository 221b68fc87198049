//! `POST /security-events` (RFC 8935): which sessions an event ends, and the error code of every fault.

use crate::site::{Answer, Site, send_request};
use crate::transmitter::{REVOKED, Transmitter, push_event};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_placement::core::clock::Clock;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::Method;
use serde_json::{Value, json};

const ISSUER: &str = "https://idp.example";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";

fn transmitter_config(transmitter: &Transmitter, account_by: &str) -> String {
    format!(
        "{}security_events: {{ audience: berth-events, max_age: 1h, transmitters: [\
         {{ name: idp, issuer: \"{ISSUER}\", jwks: {{ url: \"{}\" }}, account_by: {account_by} }} ] }}\n",
        crate::events::CLIENTS,
        transmitter.jwks_url
    )
}

async fn start_site(account_by: &str) -> (Transmitter, Site) {
    let transmitter = Transmitter::start(ISSUER).await;
    let site = Site::start(&transmitter_config(&transmitter, account_by)).await;
    (transmitter, site)
}

fn demo_subject() -> Value {
    json!({"format": "iss_sub", "iss": ISSUER, "sub": "demo"})
}

async fn is_active(site: &Site, id: &str) -> bool {
    site.token(id).await.status == 200
}

fn assert_accepted(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (202, ""),
        "{answer:?}"
    );
}

fn error_text(answer: &Answer) -> String {
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("content-language"), "en");
    let body = answer.json();
    let words = body["description"].as_str().unwrap();
    format!("{}: {words}", body["err"].as_str().unwrap())
}

async fn assert_counted(site: &Site, outcome: &str, count: u32) {
    let metrics = site.get("/metrics", "").await.text;
    let labels = format!("transmitter=\"idp\",outcome=\"{outcome}\"");
    let line = format!("berth_security_events_total{{{labels}}} {count}");
    assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
}

#[tokio::test]
async fn an_event_ends_the_sessions_that_it_names() {
    let (idp, site) = start_site("sub").await;
    let now = site.clock.now_s();
    let mut number = 0;
    let mut sent = async |event: &str, sub_id: Value| {
        number += 1;
        let claims = idp.claims(now, &number.to_string(), event, sub_id);
        assert_accepted(&push_event(&site, idp.sign(&claims)).await);
    };
    let ids = [site.login().await, site.login().await, site.login().await];
    let session = json!({"format": "opaque", "id": site.session_ref(&ids[0]).await});
    sent(REVOKED, session).await;
    assert!(!is_active(&site, &ids[0]).await && is_active(&site, &ids[1]).await);
    let session = json!({"format": "opaque", "id": site.session_ref(&ids[1]).await});
    let other = json!({"format": "iss_sub", "iss": ISSUER, "sub": "root"});
    sent(
        REVOKED,
        json!({"format": "complex", "user": other, "session": session}),
    )
    .await;
    assert!(
        is_active(&site, &ids[1]).await,
        "the session of another user"
    );
    sent(
        REVOKED,
        json!({"format": "complex", "user": demo_subject(), "session": session}),
    )
    .await;
    assert!(!is_active(&site, &ids[1]).await && is_active(&site, &ids[2]).await);
    // Events that end nothing here are accepted, too.
    sent(
        "https://schemas.openid.net/secevent/ssf/event-type/verification",
        demo_subject(),
    )
    .await;
    sent(REVOKED, json!({"format": "email", "email": "demo"})).await;
    sent(
        REVOKED,
        json!({"format": "iss_sub", "iss": "https://else.example", "sub": "demo"}),
    )
    .await;
    sent(REVOKED, json!({"format": "opaque", "id": "nothing"})).await;
    sent(
        DISABLED,
        json!({"format": "opaque", "id": site.session_ref(&ids[2]).await}),
    )
    .await;
    assert!(is_active(&site, &ids[2]).await);
    for about in [
        demo_subject(),
        json!({"format": "account", "uri": "acct:demo@idp.example"}),
    ] {
        for event in [DISABLED, REVOKED] {
            let ids = [site.login().await, site.login().await];
            sent(event, about.clone()).await;
            assert!(!is_active(&site, &ids[0]).await && !is_active(&site, &ids[1]).await);
        }
    }
    for (outcome, count) in [("ended", 6), ("unknown-subject", 5), ("ignored", 1)] {
        assert_counted(&site, outcome, count).await;
    }
    let request = site.request(Method::GET, "/metrics");
    let metrics = send_request(request).await.text;
    let cause = "berth_sessions_ended_total{cause=\"security-event\"} 11";
    assert!(metrics.lines().any(|l| l == cause), "{metrics}");
}

#[tokio::test]
async fn mail_addresses_identify_accounts_only_if_configured() {
    let (idp, site) = start_site("email").await;
    let id = site.login().await;
    let now = site.clock.now_s();
    let claims = idp.claims(now, "1", REVOKED, demo_subject());
    assert_accepted(&push_event(&site, idp.sign(&claims)).await);
    assert!(is_active(&site, &id).await);
    let mail = json!({"format": "email", "email": "demo"});
    let claims = idp.claims(now, "2", REVOKED, mail);
    assert_accepted(&push_event(&site, idp.sign(&claims)).await);
    assert!(!is_active(&site, &id).await);
}

#[tokio::test]
async fn a_repeated_event_does_nothing() {
    let (idp, site) = start_site("sub").await;
    let claims = idp.claims(site.clock.now_s(), "1", REVOKED, demo_subject());
    let token = idp.sign(&claims);
    let id = site.login().await;
    assert_accepted(&push_event(&site, token.clone()).await);
    assert!(!is_active(&site, &id).await);
    site.clock.advance_ms(61_000);
    let id = site.login().await;
    // A repeated event gets the same answer as the first one (RFC 8935, section 2).
    assert_accepted(&push_event(&site, token).await);
    assert!(is_active(&site, &id).await);
    assert_counted(&site, "replayed", 1).await;
}

#[tokio::test]
async fn an_event_that_failed_on_the_store_counts_when_repeated() {
    let (idp, site) = start_site("sub").await;
    let id = site.login().await;
    let token = idp.sign(&idp.claims(site.clock.now_s(), "1", REVOKED, demo_subject()));
    site.rename_table("sessions", "gone").await;
    let down = push_event(&site, token.clone()).await;
    assert_eq!((down.status, down.reason().as_str()), (503, "store-down"));
    assert_eq!(down.header("retry-after"), "1");
    site.rename_table("gone", "sessions").await;
    assert_accepted(&push_event(&site, token).await);
    assert!(!is_active(&site, &id).await);
}

#[tokio::test]
async fn each_fault_has_its_error_code_and_ends_nothing() {
    let (idp, site) = start_site("sub").await;
    let id = site.login().await;
    let now = site.clock.now_s();
    let good = idp.claims(now, "1", REVOKED, demo_subject());
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        idp.sign(&claims)
    };
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = idp.sign(&good);
    let (message, signature) = signed.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let mut other = good.clone();
    other["jti"] = json!("2");
    let forged = format!("{header}.{}.{signature}", part(&other));
    let none = json!({"alg": "none", "typ": "secevent+jwt"});
    let unsigned = format!("{}.{}.", part(&none), part(&good));
    // The public key used as a shared secret (algorithm confusion).
    let mut confused = Header::new(jsonwebtoken::Algorithm::HS256);
    confused.kid = Some("one".to_owned());
    confused.typ = Some("secevent+jwt".to_owned());
    let public = idp.key.public_jwk.as_ref().unwrap().to_string();
    let secret = EncodingKey::from_secret(public.as_bytes());
    let confused = jsonwebtoken::encode(&confused, &good, &secret).unwrap();
    let mut session_token = idp.key.header.clone();
    session_token.typ = Some("JWT".to_owned());
    let session_token = jsonwebtoken::encode(&session_token, &good, &idp.key.encoding_key).unwrap();
    let mut stranger = Transmitter::start(ISSUER).await;
    stranger.rotate("two");
    let unknown_key = stranger.sign(&good);
    stranger.rotate("one");
    let wrong_key = stranger.sign(&good);
    for (token, expected) in [
        (
            "garbage".to_owned(),
            "invalid_request: the body is not a signed token",
        ),
        (
            String::new(),
            "invalid_request: the body is not a signed token",
        ),
        (session_token, "invalid_request: typ is not secevent+jwt"),
        (unsigned, "invalid_key: alg is not accepted"),
        (confused, "invalid_key: alg is not accepted"),
        (
            unknown_key,
            "invalid_key: no key of that kid and alg is known",
        ),
        (
            forged,
            "authentication_failed: the signature does not verify",
        ),
        (
            with("iss", json!("https://else.example")),
            "invalid_issuer: iss is not known here",
        ),
        (
            with("aud", json!("engine")),
            "invalid_audience: aud is not the receiver's",
        ),
        (
            with("aud", json!([])),
            "invalid_audience: aud is not the receiver's",
        ),
        (
            with("iat", json!(now - 3601)),
            "invalid_request: iat is too long ago",
        ),
        (
            with("iat", json!(now + 61)),
            "invalid_request: iat is in the future",
        ),
        (with("exp", json!(now - 60)), "invalid_request: exp is past"),
        (
            with("sub_id", json!("demo")),
            "invalid_request: sub_id is malformed",
        ),
        (
            with("events", json!({})),
            "invalid_request: events is missing",
        ),
    ] {
        assert_eq!(error_text(&push_event(&site, token).await), expected);
    }
    // The keys were fetched a moment ago. Only the next fetch can show whether this key is new.
    let unsure = push_event(&site, wrong_key).await;
    assert_eq!(
        (unsure.status, unsure.reason().as_str()),
        (503, "keys-unavailable")
    );
    assert_eq!(unsure.header("retry-after"), "30");
    assert!(is_active(&site, &id).await);
    assert_counted(&site, "invalid_audience", 2).await;
    let large = push_event(&site, "x".repeat(70_000)).await;
    assert_eq!(
        error_text(&large),
        "invalid_request: the body is too large, or did not come whole"
    );
    for content_type in ["application/json", "application/jwt", "secevent+jwt"] {
        let request = site.request(Method::POST, "/security-events");
        let request = request.header("content-type", content_type);
        let other = send_request(request.body(signed.clone())).await;
        assert_eq!(
            error_text(&other),
            "invalid_request: the content type must be application/secevent+jwt"
        );
    }
    assert!(is_active(&site, &id).await);
    assert_accepted(&push_event(&site, signed).await);
    assert!(!is_active(&site, &id).await, "the valid event is accepted");
}

#[tokio::test]
async fn a_failed_key_fetch_is_not_a_fault_of_the_token() {
    let mut idp = Transmitter::start(ISSUER).await;
    idp.jwks_url = "http://127.0.0.1:1/jwks".to_owned();
    let site = Site::start(&transmitter_config(&idp, "sub")).await;
    let token = idp.sign(&idp.claims(site.clock.now_s(), "1", REVOKED, demo_subject()));
    let answer = push_event(&site, token).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "keys-unavailable")
    );
    assert_eq!(answer.header("retry-after"), "30");
}

#[tokio::test]
async fn a_rotated_key_of_the_transmitter_is_accepted() {
    let mut idp = Transmitter::start(ISSUER).await;
    idp.rotate("two");
    idp.publish();
    let site = Site::start(&transmitter_config(&idp, "sub")).await;
    let id = site.login().await;
    let token = idp.sign(&idp.claims(site.clock.now_s(), "1", REVOKED, demo_subject()));
    assert_accepted(&push_event(&site, token).await);
    assert!(!is_active(&site, &id).await);
}

#[tokio::test]
async fn a_published_key_of_wrong_size_is_ignored() {
    let mut idp = Transmitter::start(ISSUER).await;
    idp.rotate("two");
    let mut short = idp.key.public_jwk.clone().unwrap();
    short["x"] = json!("AAAA");
    idp.publish_keys(json!([short]));
    let site = Site::start(&transmitter_config(&idp, "sub")).await;
    let token = idp.sign(&idp.claims(site.clock.now_s(), "1", REVOKED, demo_subject()));
    let answer = push_event(&site, token).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (503, "keys-unavailable")
    );
}

#[tokio::test]
async fn without_transmitters_the_route_does_not_exist() {
    let site = Site::start("").await;
    let answer = push_event(&site, "x").await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (404, "not-found")
    );
}
