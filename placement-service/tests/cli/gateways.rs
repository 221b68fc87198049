//! `berth gateways`: what it prints, when it waits and when it fails; and what the service logs of gateways.

use super::{RunningService, berth_command, rows, run_berth, write_config};
use serde_json::{Value, json};
use std::process::Output;

const CLIENTS: &str =
    "api: { clients: [ { name: ops, role: operator, secret: { inline: operator-secret-1 } } ] }
log: { format: json }";

fn poll(served: &RunningService, gateway: &str, sequence: u64, version: &str) {
    let identity = json!({"node": "edge-0", "version": version, "uptime_ms": 60_000});
    let report =
        json!({"sequence": sequence, "cursor": "now", "poll_timeout_ms": 0, "identity": identity});
    let answer = served.post(&format!("/v1/gateways/{gateway}/events"), report);
    assert!(answer.contains("200 OK"), "{answer}");
}

/// Reports that a stream is open.
fn open_stream(served: &RunningService, gateway: &str, sequence: u64) {
    let stream =
        json!({"stream": "s", "session_ref": "r", "pool": "p", "engine": "e", "opened_at": 1});
    let report = json!({"sequence": sequence, "opened": [stream]});
    let answer = served.post(&format!("/v1/gateways/{gateway}/events"), report);
    assert!(answer.contains("200 OK"), "{answer}");
}

#[test]
fn envoys_are_listed_drained_and_undrained() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), CLIENTS);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let more = ["--service", &at, "--config", file.to_str().unwrap()];
    let run_command = |args: &[&str]| run_berth(&[&["gateways"], args, &more].concat(), "");
    let header = "NODE   DRAIN   WEBSOCKETS   WORKERS   FILTER\n".to_owned();
    assert_eq!(run_command(&["ls"]), (Some(0), header, String::new()));
    let row = || {
        let (_, out, _) = run_command(&["ls", "--no-headers"]);
        rows(&out).remove(0).join(" ")
    };

    let own = env!("CARGO_PKG_VERSION");
    poll(&served, "g-1", 1, own);
    poll(&served, "g-2", 1, "0.0.1");
    open_stream(&served, "g-1", 2);
    assert_eq!(row(), format!("edge-0 - 1 2 0.0.1,{own}"));
    assert_eq!(run_command(&["ls", "-o", "name"]).1, "edge-0\n");
    let drained = run_command(&["drain", "edge-0", "--over", "1h"]);
    assert_eq!(drained.1, "edge-0 is drained; open WebSockets: 1\n");
    assert!(row().starts_with("edge-0 draining 1 "));
    run_command(&["drain", "edge-0", "--over", "1h", "--refuse"]);
    assert!(row().starts_with("edge-0 refusing 1 "));
    let listed: Value = serde_json::from_str(&run_command(&["ls", "-o", "json"]).1).unwrap();
    assert_eq!(listed[0]["gateway"], "g-1");
    assert_eq!(
        run_command(&["undrain", "edge-0"]).1,
        "edge-0 is no longer drained\n"
    );
    assert!(row().starts_with("edge-0 - 1 "));

    // A socket that stays open.
    let (code, _, err) = run_command(&["drain", "edge-0", "--over", "0s", "--wait"]);
    assert_eq!(
        (code, err.as_str()),
        (
            Some(1),
            "edge-0: 1 open WebSockets, 0 s left\nedge-0 still has 1 open WebSockets\n"
        )
    );
    let (code, _, err) = run_command(&["drain", "edge-0", "--over", "x"]);
    assert!(code == Some(1) && err.contains("over: a time"), "{err}");
    let (code, _, err) = run_command(&["drain", "edge-0", "--envoy-admin", "http://127.0.0.1:1"]);
    assert!(
        code == Some(1) && err.starts_with("the admin port of Envoy at http://127.0.0.1:1/: "),
        "{err}"
    );

    // As a preStop hook, which has no arguments of its own.
    let mut hook = berth_command(&["gateways", "drain", "--over", "0s", "--wait"]);
    let Output { status, stdout, .. } = hook
        .args(more)
        .env("BERTH_NODE", "edge-1")
        .output()
        .unwrap();
    assert!(status.success());
    assert_eq!(
        String::from_utf8(stdout).unwrap(),
        "edge-1 is drained; no worker of it reports\nedge-1 has no open WebSockets\n"
    );

    poll(&served, "g-2", 2, "0.0.1");
    let (_, log) = served.terminate();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let warned = lines.iter().filter(|line| {
        line["message"] == "the filter of a gateway has another version than this service"
    });
    let warned: Vec<_> = warned.collect();
    assert_eq!(warned.len(), 1, "{log}");
    let named = |field: &str| warned[0][field].as_str().unwrap().to_owned();
    assert_eq!(
        (named("gateway"), named("node"), named("filter")),
        ("g-2".to_owned(), "edge-0".to_owned(), "0.0.1".to_owned())
    );
}
