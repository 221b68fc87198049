//! The process that delivers webhooks is killed during a delivery. Another process continues.

use crate::webhook_receiver::{ReceivedRequest, Receiver, ScriptedAnswer};
use std::path::Path;
use std::process::{Command as Blocking, Stdio};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const BERTH_BINARY: &str = env!("CARGO_BIN_EXE_berth");

/// Starts `berth serve` with this file. Returns the process and its address.
async fn start_service(file: &Path) -> (Child, String) {
    let mut command = Command::new(BERTH_BINARY);
    let file = file.to_str().unwrap();
    command.args(["serve", "--config", file, "--listen", "127.0.0.1:0"]);
    command.env("BERTH_TOKEN_KEY", "k".repeat(40));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let address = line.strip_prefix("listening http=").unwrap().to_owned();
    (child, format!("http://{address}"))
}

async fn login(url: &str) {
    let client = berth_placement::core::http_client::client_builder()
        .build()
        .unwrap();
    let request = client.post(format!("{url}/login"));
    let request = request.header("content-type", "application/json");
    let body = "{\"username\":\"demo\",\"password\":\"a-long-password\"}";
    let answer = request.body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_killed_process_loses_no_event() {
    let receiver = Receiver::start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("berth.yaml");
    let yaml = format!(
        "store: {{ kind: sqlite, path: {}, timeout: 10s }}\nevents: {{ lease: 1s, poll: 20ms }}\n\
         webhooks: [ {{ name: siem, url: \"{}\", secret: {{ inline: webhook-secret-16 }} }} ]\n",
        dir.path().join("berth.db").display(),
        receiver.url
    );
    std::fs::write(&file, yaml).unwrap();
    let add = format!(
        "printf %s a-long-password | {BERTH_BINARY} account add demo --password-stdin --config {}",
        file.display()
    );
    let added = Blocking::new("sh").args(["-c", &add]).output().unwrap();
    assert!(added.status.success(), "{added:?}");

    let (mut first, url) = start_service(&file).await;
    login(&url).await;
    receiver.wait_for_accepted(1).await;
    let (_second, other) = start_service(&file).await;
    receiver.push_answers(&[ScriptedAnswer::Hang]);
    login(&url).await;
    login(&url).await;
    receiver.wait_until(|got| got.len() == 2).await;
    first.kill().await.unwrap();
    login(&other).await;
    let taken = receiver.wait_for_accepted(4).await;
    let ids: Vec<_> = taken.iter().map(ReceivedRequest::id).collect();
    let (log, _) = ids[0].split_once('-').unwrap();
    let expected = [1, 2, 3, 4].map(|sequence| format!("{log}-{sequence}"));
    assert_eq!(ids, expected, "in order, none lost");
    assert_eq!(
        receiver.requests()[1].id(),
        ids[1],
        "sent twice: delivery is at least once"
    );
}
