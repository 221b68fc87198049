//! The documented way to verify a webhook's signature, run on a real delivery.

use crate::receiver::Receiver;
use crate::site::Site;
use std::process::Command;

const EVENTS: &str = include_str!("../../docs/events.md");
const SECRET: &str = "webhook-secret-16";

/// What the documented function returns.
fn genuine(secret: &str, header: &str, body: &str) -> bool {
    let example = EVENTS.split("```python\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let program = format!(
        "{example}\nimport sys\nprint(genuine(sys.argv[1], sys.argv[2], sys.argv[3].encode()))"
    );
    let mut python = Command::new("python3");
    let ran = python.args(["-c", &program, secret, header, body]).output();
    let ran = ran.unwrap();
    match String::from_utf8_lossy(&ran.stdout).trim() {
        "True" => true,
        "False" => false,
        _ => panic!("{ran:?}"),
    }
}

#[tokio::test]
async fn the_readmes_example_tells_genuine_deliveries_from_others() {
    let receiver = Receiver::start().await;
    let hook = format!(
        "webhooks: [ {{ name: siem, url: \"{}\", secret: {{ inline: {SECRET} }} }} ]",
        receiver.url
    );
    let site = Site::start(&hook).await;
    site.login().await;
    receiver.until_taken(1).await;
    site.clock.advance_ms(600_000);
    site.login().await;
    let taken = receiver.until_taken(2).await;
    let (header, body) = (taken[0].header("berth-signature"), &taken[0].body);
    let body = std::str::from_utf8(body).unwrap();
    assert!(genuine(SECRET, header, body));
    assert!(!genuine("another-secret-16", header, body));
    assert!(!genuine(SECRET, header, &body.replace("demo", "root")));
    assert!(!genuine(SECRET, &header.replace("t=1", "t=2"), body));
    // Ten minutes off, as a replay would be.
    let late = &taken[1];
    let body = std::str::from_utf8(&late.body).unwrap();
    assert!(!genuine(SECRET, late.header("berth-signature"), body));
}
