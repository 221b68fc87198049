//! Runs the documented verification of a webhook signature on a real delivery.

use crate::site::Site;
use crate::webhook_receiver::{ReceivedRequest, Receiver};
use std::collections::BTreeMap;
use std::process::Command;

const EVENTS_PAGE: &str = include_str!("../../docs/events.md");
const SECRET: &str = "webhook-secret-16";

/// The result of the documented function for a delivery with this body and with these changes to its headers.
fn is_genuine(
    secret: &str,
    delivery: &ReceivedRequest,
    changed: &[(&str, &str)],
    body: &str,
) -> bool {
    let example = EVENTS_PAGE.split("```python\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let program = format!(
        "{example}\nimport json, sys\nprint(genuine(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3].encode()))"
    );
    let mut headers: BTreeMap<&str, &str> =
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name, delivery.header(name)))
            .into();
    headers.extend(changed.iter().copied());
    let headers = serde_json::to_string(&headers).unwrap();
    let mut python = Command::new("python3");
    let ran = python
        .args(["-c", &program, secret, &headers, body])
        .output();
    let ran = ran.unwrap();
    match String::from_utf8_lossy(&ran.stdout).trim() {
        "True" => true,
        "False" => false,
        _ => panic!("{ran:?}"),
    }
}

/// Starts a site whose webhook has this secret. Returns two deliveries, ten minutes apart by the site's clock.
async fn receive_deliveries(secret: &str) -> (Site, Vec<ReceivedRequest>) {
    let receiver = Receiver::start().await;
    let hook = format!(
        "webhooks: [ {{ name: siem, url: \"{}\", secret: {{ inline: {secret} }} }} ]",
        receiver.url
    );
    let site = Site::start(&hook).await;
    site.login().await;
    receiver.wait_for_accepted(1).await;
    site.clock.advance_ms(600_000);
    site.login().await;
    (site, receiver.wait_for_accepted(2).await)
}

#[tokio::test]
async fn the_documented_receiver_accepts_only_genuine_deliveries() {
    for secret in [SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
        let (_site, taken) = receive_deliveries(secret).await;
        let body = std::str::from_utf8(&taken[0].body).unwrap();
        assert!(is_genuine(secret, &taken[0], &[], body));
        assert!(!is_genuine("another-secret-16", &taken[0], &[], body));
        assert!(!is_genuine(
            secret,
            &taken[0],
            &[],
            &body.replace("demo", "root")
        ));
        assert!(!is_genuine(
            secret,
            &taken[0],
            &[("webhook-id", "other")],
            body
        ));
        let later = (taken[0].header("webhook-timestamp").parse::<u64>().unwrap() + 1).to_string();
        assert!(!is_genuine(
            secret,
            &taken[0],
            &[("webhook-timestamp", &later)],
            body
        ));
        // The timestamp is ten minutes off, as in a replay.
        let late = std::str::from_utf8(&taken[1].body).unwrap();
        assert!(!is_genuine(secret, &taken[1], &[], late));
    }
}
