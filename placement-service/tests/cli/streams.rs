//! `berth streams`: what it prints, and when it fails.

use super::{RunningService, rows, run_berth, write_config};
use serde_json::{Value, json};

const CLIENTS: &str =
    "api: { clients: [ { name: ops, role: operator, secret: { inline: operator-secret-1 } } ] }";

#[test]
fn open_websockets_are_listed_and_closed() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), CLIENTS);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let more = ["--service", &at, "--config", file.to_str().unwrap()];
    let run_command = |args: &[&str]| run_berth(&[&["streams"], args, &more].concat(), "");
    let header = "STREAM   ACCOUNT   SESSION   POOL   ENGINE   KEY   NODE   AGE S\n".to_owned();
    assert_eq!(run_command(&["ls"]), (Some(0), header, String::new()));

    let opened_at = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let streams = ["-s", "t"].map(|name| {
        json!({"stream": name, "session_ref": "r", "pool": "p", "engine": name, "opened_at": opened_at})
    });
    let identity = json!({"node": "edge-0", "uptime_ms": 1});
    let report = json!({"sequence": 1, "opened": streams, "cursor": "now", "identity": identity});
    let answer = served.post("/v1/gateways/g-1/events", report);
    assert!(answer.contains("200 OK"), "{answer}");
    let (_, out, _) = run_command(&["ls", "--no-headers", "--engine", "t", "--pool", "p"]);
    let row = rows(&out).remove(0).join(" ");
    assert!(row.starts_with("t - r p t - edge-0 "), "{row}");
    assert_eq!(run_command(&["ls", "-o", "name"]).1, "-s\nt\n");
    assert_eq!(
        run_command(&["ls", "--session", "other", "-o", "name"]).1,
        ""
    );
    assert_eq!(run_command(&["ls", "--account", "ada", "-o", "name"]).1, "");
    let listed: Value = serde_json::from_str(&run_command(&["ls", "-o", "json"]).1).unwrap();
    assert_eq!(
        (&listed[1]["stream"], &listed[1]["gateway"]),
        (&json!("t"), &json!("g-1"))
    );

    assert_eq!(run_command(&["close", "-s"]).1, "-s is being closed\n");
    let (code, _, err) = run_command(&["close", "never"]);
    assert!(code == Some(1) && err.contains("no such stream"), "{err}");
}
