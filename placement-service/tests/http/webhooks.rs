//! Webhooks: in order, at least once, signed; dead letters; one replica delivers at a time.

use crate::site::{Answer, Site, send_request};
use crate::webhook_receiver::{ReceivedRequest, Receiver, ScriptedAnswer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use berth_placement::core::clock::Clock;
use hmac::{Hmac, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

pub(crate) const SECRET: &str = "webhook-secret-16";

/// Configuration with an operator and a webhook with short timeouts.
pub(crate) fn webhook_config(receiver: &Receiver, more: &str) -> String {
    format!(
        "{}events: {{ lease: 300ms, poll: 20ms }}\n\
         webhooks: [ {{ name: siem, url: \"{}\", secret: {{ inline: {SECRET} }}, timeout: 200ms,\
         backoff: {{ initial: 5ms, max: 20ms }} {more} }} ]\n",
        crate::events::CLIENTS,
        receiver.url
    )
}

pub(crate) async fn request_as_operator(site: &Site, method: Method, path: &str) -> Answer {
    let request = site.request(method, path);
    send_request(request.header("authorization", "Bearer operator-secret-1")).await
}

async fn read_events(site: &Site, cursor: &str) -> Vec<Value> {
    let path = format!("/v1/events?cursor={cursor}");
    let page = request_as_operator(site, Method::GET, &path).await.json();
    page["events"].as_array().unwrap().clone()
}

async fn current_cursor(site: &Site) -> String {
    let page = request_as_operator(site, Method::GET, "/v1/events")
        .await
        .json();
    page["cursor"].as_str().unwrap().to_owned()
}

pub(crate) async fn logout(site: &Site, id: &str) {
    let request = site.request(Method::POST, "/logout");
    send_request(request.header("cookie", format!("berth={id}"))).await;
}

fn bodies(got: &[ReceivedRequest]) -> Vec<Value> {
    got.iter().map(ReceivedRequest::json).collect()
}

#[tokio::test]
async fn a_failing_receiver_gets_every_event_in_order_and_signed() {
    let receiver = Receiver::start().await;
    receiver.push_answers(&[
        ScriptedAnswer::Respond(500, "a secret of the receiver"),
        ScriptedAnswer::Hang,
        ScriptedAnswer::Respond(404, ""),
        ScriptedAnswer::Redirect,
        ScriptedAnswer::Respond(200, "fine"),
        ScriptedAnswer::Respond(503, ""),
    ]);
    let site = Site::start(&webhook_config(&receiver, "")).await;
    let begin = current_cursor(&site).await;
    let ids = [site.login().await, site.login().await];
    logout(&site, &ids[0]).await;
    let taken = receiver.wait_for_accepted(3).await;
    assert_eq!(bodies(&taken), read_events(&site, &begin).await);
    let got = receiver.requests();
    assert_eq!(got.len(), 8);
    assert!(got.iter().all(|got| got.path == "/hook"), "no redirect");
    for attempt in &got[..5] {
        assert_eq!(attempt.id(), got[0].id());
        assert_eq!(attempt.body, got[0].body);
    }
    for got in &got {
        assert_eq!(got.id(), got.json()["cursor"]);
        assert_eq!(got.header("content-type"), "application/json");
        let t = site.clock.now_s();
        assert_eq!(got.header("webhook-timestamp"), t.to_string());
        let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        let mac = mac.chain_update(format!("{}.{t}.", got.id()));
        let tag = mac.chain_update(&got.body).finalize().into_bytes();
        let signature = format!("v1,{}", STANDARD.encode(tag));
        assert_eq!(got.header("webhook-signature"), signature);
        let text = String::from_utf8(got.body.clone()).unwrap();
        assert!(ids.iter().all(|id| !text.contains(id)));
    }
    let metrics = site.get("/metrics", "").await.text;
    for line in [
        "berth_webhook_deliveries_total{webhook=\"siem\",result=\"ok\"} 3",
        "berth_webhook_deliveries_total{webhook=\"siem\",result=\"failed\"} 5",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn only_the_configured_kinds_are_delivered() {
    let receiver = Receiver::start().await;
    let site = Site::start(&webhook_config(&receiver, ", events: [logged-out]")).await;
    let ids = [site.login().await, site.login().await];
    logout(&site, &ids[0]).await;
    logout(&site, &ids[1]).await;
    let taken = receiver.wait_for_accepted(2).await;
    assert!(bodies(&taken).iter().all(|b| b["kind"] == "logged-out"));
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn after_its_last_attempt_an_event_is_a_dead_letter_and_the_next_is_delivered() {
    let receiver = Receiver::start().await;
    receiver.push_answers(&[
        ScriptedAnswer::Respond(500, "hunter2"),
        ScriptedAnswer::Hang,
        ScriptedAnswer::Respond(418, ""),
    ]);
    let site = Site::start(&webhook_config(&receiver, ", attempts: 3")).await;
    site.login().await;
    site.login().await;
    let taken = receiver.wait_for_accepted(1).await;
    let first = receiver.requests()[0].json();
    assert_ne!(taken[0].json(), first);
    let path = "/v1/webhooks/siem/dead-letters";
    let listed = request_as_operator(&site, Method::GET, path).await;
    let letter = &listed.json()["dead_letters"][0];
    assert_eq!(listed.json()["dead_letters"].as_array().unwrap().len(), 1);
    assert_eq!(letter["error"], "status 418");
    assert_eq!(letter["event"]["session_ref"], first["session_ref"]);
    assert!(!listed.text.contains("hunter2"));
    let sequence = letter["sequence"].as_u64().unwrap();
    let retry = format!("{path}/{sequence}/retry");
    receiver.push_answers(&[ScriptedAnswer::Respond(502, "")]);
    let failed = request_as_operator(&site, Method::POST, &retry).await;
    assert_eq!(
        (failed.status, failed.reason().as_str()),
        (502, "webhook-failed")
    );
    assert_eq!(failed.json()["detail"], "status 502");
    let listed = request_as_operator(&site, Method::GET, path).await.json();
    assert_eq!(listed["dead_letters"][0]["error"], "status 502");
    assert_eq!(
        request_as_operator(&site, Method::POST, &retry)
            .await
            .status,
        204
    );
    assert_eq!(receiver.accepted_requests()[1].json(), first);
    let listed = request_as_operator(&site, Method::GET, path).await.json();
    assert_eq!(listed, json!({"dead_letters": []}));
    let metrics = site.get("/metrics", "").await.text;
    let line = "berth_webhook_deliveries_total{webhook=\"siem\",result=\"dead-letter\"} 1";
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
    for (method, path, reason) in [
        (Method::POST, retry.as_str(), "no-such-dead-letter"),
        (
            Method::POST,
            "/v1/webhooks/siem/dead-letters/x/retry",
            "no-such-dead-letter",
        ),
        (
            Method::POST,
            "/v1/webhooks/none/dead-letters/1/retry",
            "no-such-webhook",
        ),
        (
            Method::GET,
            "/v1/webhooks/none/dead-letters",
            "no-such-webhook",
        ),
        (
            Method::GET,
            "/v1/webhooks/%ff/dead-letters",
            "no-such-webhook",
        ),
    ] {
        let nothing = request_as_operator(&site, method, path).await;
        assert_eq!(
            (nothing.status, nothing.reason().as_str()),
            (404, reason),
            "{path}"
        );
    }
    let request = site.request(Method::GET, path);
    let runtime = send_request(request.header("authorization", "Bearer runtime-secret-12")).await;
    assert_eq!(
        (runtime.status, runtime.reason().as_str()),
        (403, "forbidden")
    );
}

#[tokio::test]
async fn events_of_a_receiver_outage_are_delivered_even_after_a_restart() {
    let receiver = Receiver::start().await;
    receiver.set_default_answer(Some(ScriptedAnswer::Respond(500, "")));
    let config = webhook_config(&receiver, ", attempts: 100");
    let site = Site::start(&config).await;
    let begin = current_cursor(&site).await;
    site.login().await;
    site.login().await;
    receiver.wait_until(|got| !got.is_empty()).await;
    let site = site.restart(&config).await;
    site.login().await;
    receiver.set_default_answer(None);
    let taken = receiver.wait_for_accepted(3).await;
    assert_eq!(bodies(&taken), read_events(&site, &begin).await);
}

#[tokio::test]
async fn one_of_two_replicas_delivers_and_the_other_takes_over() {
    let receiver = Receiver::start().await;
    let config = webhook_config(&receiver, "");
    let site = Site::start(&config).await;
    let begin = current_cursor(&site).await;
    site.login().await;
    receiver.wait_for_accepted(1).await;
    let other = site.start_replica(&config).await;
    for _ in 0..3 {
        site.login().await;
        other.login().await;
    }
    receiver.wait_for_accepted(7).await;
    // A graceful shutdown releases the lease.
    site.shut_down().await;
    other.login().await;
    let taken = receiver.wait_for_accepted(8).await;
    assert_eq!(
        bodies(&taken),
        read_events(&other, &begin).await,
        "each once"
    );
}

#[tokio::test]
async fn events_that_leave_the_log_before_delivery_are_counted() {
    let receiver = Receiver::start().await;
    receiver.set_default_answer(Some(ScriptedAnswer::Hang));
    let config = webhook_config(&receiver, ", attempts: 100");
    let site = Site::start(&config).await;
    for _ in 0..4 {
        site.login().await;
    }
    let database = site.database().await;
    let site = site.restart(&config.replace("siem", "other")).await;
    sqlx::query("DELETE FROM events WHERE sequence < 4")
        .execute(&database)
        .await
        .unwrap();
    receiver.set_default_answer(None);
    let site = site.restart(&config).await;
    let taken = receiver.wait_for_accepted(1).await;
    assert!(taken[0].id().ends_with("-4"));
    let metrics = site.get("/metrics", "").await.text;
    let line = "berth_webhook_missed_total{webhook=\"siem\"} 3";
    assert!(metrics.lines().any(|l| l == line), "{metrics}");
}
