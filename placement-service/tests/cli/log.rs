//! What unauthenticated clients and discovery sources can make the service log at the default level: the first lines of
//! each event, then a count. The input of clients never appears in the log.

use super::{PASSWORD, RunningService, run_berth, write_config};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const ATTEMPTS: u64 = 200;
/// The service writes this many lines of an event per minute in full.
const FULL_LINES_PER_MINUTE: usize = 10;

/// Splits the audit lines of an event: the lines without a count, and the sum of the counts.
fn split_lines<'a>(audit: &'a [Value], event: &str) -> (Vec<&'a Value>, u64) {
    let lines = audit.iter().filter(|line| line["event"] == event);
    let (counts, whole): (Vec<_>, Vec<_>) = lines.partition(|line| !line["suppressed"].is_null());
    let suppressed = counts.iter().filter_map(|line| line["suppressed"].as_u64());
    (whole, suppressed.sum())
}

#[test]
fn unauthenticated_clients_cannot_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let more = "session: { cookie: { secure: false } }
login: { rate: { per_minute: 1, burst: 3 } }
oidc: [ { name: idp, issuer: 'http://127.0.0.1:1', client_id: berth, roles: { claim: groups, map: { a: user } } } ]
security_events: { audience: a, transmitters: [ { name: t, issuer: i, jwks: { url: 'http://127.0.0.1:1/jwks' }, account_by: sub } ] }";
    let file = write_config(dir.path(), more);
    let args = ["account", "add", "demo", "--password-stdin", "--config"];
    run_berth(&[&args[..], &[file.to_str().unwrap()]].concat(), PASSWORD);
    let served = RunningService::start(&file);
    let log_in = |name: &str, password: &str| {
        let body = json!({"username": name, "password": password});
        served.post("/login", body)
    };
    assert!(log_in("demo", PASSWORD).contains("200 OK"));
    for name in ["demo", "typed-into-the-wrong-field"] {
        assert!(log_in(name, "wrong").contains("login-failed"));
    }
    let form = "application/x-www-form-urlencoded";
    let get = |path: &str| served.send("GET", path, form, "");
    for n in 0..ATTEMPTS {
        let unknown = served.post("/v1/tokens", json!({"session": format!("{n:043}")}));
        assert!(unknown.contains("unknown-session"), "{unknown}");
        assert!(log_in("demo", "wrong").contains("too-many-logins"));
        let callback = get("/login/oidc/idp/callback?code=x&state=y");
        assert!(callback.contains("400 Bad Request"), "{callback}");
        for path in ["", "/callback"] {
            let path = format!("/login/oidc/no-such-provider{path}");
            assert!(get(&path).contains("404 Not Found"));
        }
        let answer = get("/login/oidc/idp");
        assert!(answer.contains("503 Service Unavailable"), "{answer}");
        let path = "/login/oidc/idp/back-channel-logout";
        let logout = served.send("POST", path, form, "logout_token=x");
        assert!(logout.contains("400 Bad Request"), "{logout}");
        let path = "/security-events";
        let event = served.send("POST", path, "application/secevent+jwt", "x");
        assert!(event.contains("400 Bad Request"), "{event}");
    }
    let (code, log) = served.terminate();
    assert_eq!(code, Some(0));
    assert!(!log.contains("wrong-field") && !log.contains("no-such-provider"));
    let all: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // On a slow machine this takes more than a minute, so an event may have more than one count.
    assert!(all.len() < 200, "{} lines", all.len());
    let audit: Vec<Value> = all
        .into_iter()
        .filter(|line| line["target"] == "berth::audit")
        .collect();
    for event in ["unknown-session", "back-channel-refused", "security-event"] {
        let (whole, suppressed) = split_lines(&audit, event);
        assert!(whole.len() >= FULL_LINES_PER_MINUTE, "{event}: {whole:?}");
        assert_eq!(whole.len() as u64 + suppressed, ATTEMPTS, "{event}");
        assert!(suppressed > 0, "{event}");
    }
    let (whole, suppressed) = split_lines(&audit, "login-failed");
    let looked_at: Vec<_> = whole
        .iter()
        .filter(|line| {
            ["wrong-password", "unknown-account"].contains(&line["reason"].as_str().unwrap())
        })
        .map(|line| (line["account"].as_str(), line["address"].as_str()))
        .collect();
    let here = Some("127.0.0.1");
    assert_eq!(looked_at, [(Some("demo"), here), (None, here)]);
    assert!(whole.iter().all(|line| line["address"] == "127.0.0.1"));
    assert_eq!(whole.len() as u64 + suppressed, 2 + 5 * ATTEMPTS);
}

#[tokio::test]
async fn requests_during_a_store_outage_do_not_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "session: { cookie: { secure: false } }");
    let served = RunningService::start(&file);
    let url = format!("sqlite://{}", dir.path().join("berth.db").display());
    let database = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("DROP TABLE sessions")
        .execute(&database)
        .await
        .unwrap();
    for n in 0..ATTEMPTS {
        let lost = served.post("/v1/tokens", json!({"session": format!("{n:043}")}));
        assert!(lost.contains("store-down"), "{lost}");
    }
    let (_, log) = served.terminate();
    assert!(log.lines().count() < 50, "{log}");
    assert!(log.contains("no such table"), "{log}");
}

/// Starts a Mira server that returns this list. The channel receives one message per request.
fn start_mira(list: Value) -> (u16, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, requests) = mpsc::channel();
    std::thread::spawn(move || {
        let body = list.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}",
            body.len()
        );
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let stream = stream.get_mut();
            stream
                .write_all(format!("{head}\r\n\r\n{body}").as_bytes())
                .unwrap();
            if asked.send(()).is_err() {
                return;
            }
        }
    });
    (port, requests)
}

#[test]
fn a_discovery_source_cannot_fill_the_log() {
    let engine = json!({"engine": {"networks": [{"name": "n", "ip": "127.0.0.1"}], "port": 1}});
    let mut list = vec![engine];
    list.extend((0..100).map(|n| json!({"engine": format!("{n} {}", "x".repeat(10_000))})));
    let (port, requests) = start_mira(Value::Array(list));
    let dir = tempfile::tempdir().unwrap();
    let discovery = format!("{{ mira: {{ url: \"http://127.0.0.1:{port}\", poll: 100ms }} }}");
    let pools =
        format!("pools: [{{ name: qix, cluster: qix, driver: qix, discovery: {discovery} }}]");
    let file = write_config(dir.path(), &format!("log: {{ format: text }}\n{pools}"));
    let served = RunningService::start(&file);
    // The second request shows that the first list has been processed.
    for _ in 0..2 {
        requests.recv_timeout(Duration::from_secs(30)).unwrap();
    }
    let (_, log) = served.terminate();
    let left_out = log.lines().filter(|line| line.contains("left out"));
    let lengths: Vec<usize> = left_out.map(str::len).collect();
    assert_eq!(lengths.len(), 21, "{log}");
    assert!(lengths.iter().all(|length| *length < 1_000), "{lengths:?}");
    assert!(log.contains("80 more engines are left out"), "{log}");
}

/// Reads the log of a running service until a line has this message and engine. Returns all lines up to it.
fn wait_for_line(file: &Path, message: &str, engine: Option<&str>) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = std::fs::read_to_string(file.with_extension("log")).unwrap();
        // The last line may be incomplete.
        let lines = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok());
        let lines: Vec<Value> = lines.collect();
        let is_wanted = |line: &Value| {
            line["message"] == message && engine.is_none_or(|engine| line["engine"] == engine)
        };
        if let Some(at) = lines.iter().rposition(is_wanted) {
            return lines[..=at].to_vec();
        }
        assert!(Instant::now() < deadline, "{message} is not in {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_loss_of_an_engine_is_a_warning_and_that_of_the_last_one_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (first, last) = (bind(), bind());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let last_port = port(&last);
    let engines = format!(
        "{{ name: first, ip: 127.0.0.1, port: {} }}, {{ name: last, ip: 127.0.0.1, port: {last_port} }}",
        port(&first)
    );
    let pools = format!(
        "probe: {{ interval: 100ms, failures: 1 }}
pools: [ {{ name: p, cluster: c, driver: websocket, discovery: {{ static: [ {engines} ] }} }} ]"
    );
    let file = write_config(dir.path(), &pools);
    let served = RunningService::start(&file);
    let levels = |lines: &[Value], level: &str| {
        let of_level = lines.iter().filter(|line| line["level"] == level);
        of_level
            .map(|line| line["message"].clone())
            .collect::<Vec<_>>()
    };
    wait_for_line(&file, "engine is ok", Some("first"));
    wait_for_line(&file, "engine is ok", Some("last"));
    drop(first);
    let lines = wait_for_line(&file, "engine is unhealthy", Some("first"));
    assert_eq!(lines.last().unwrap()["level"], "WARN");
    assert!(levels(&lines, "ERROR").is_empty(), "{lines:?}");
    drop(last);
    let gone = "no engine of the pool is usable: new WebSockets are refused";
    let lines = wait_for_line(&file, gone, None);
    assert_eq!(levels(&lines, "ERROR"), [gone]);
    assert_eq!(lines.last().unwrap()["pool"], "p");
    let _engine = TcpListener::bind(("127.0.0.1", last_port)).unwrap();
    wait_for_line(&file, "an engine of the pool is usable again", None);
    let (_, log) = served.terminate();
    assert_eq!(log.matches(gone).count(), 1, "{log}");
}

#[test]
fn the_lines_of_a_call_have_the_id_of_the_request() {
    let dir = tempfile::tempdir().unwrap();
    let more = "session: { cookie: { secure: false } }";
    let file = write_config(dir.path(), more);
    let args = ["account", "add", "demo", "--password-stdin", "--config"];
    run_berth(&[&args[..], &[file.to_str().unwrap()]].concat(), PASSWORD);
    let served = RunningService::start(&file);
    let answer = served.post("/login", json!({"username": "demo", "password": PASSWORD}));
    let cookie = answer.split("berth=").nth(1).unwrap();
    let session = cookie.split(';').next().unwrap();
    let call = json!({"session": session, "method": "GET", "path": "/nowhere", "host": "h", "request_id": "0b1c-2d"});
    assert!(
        served
            .post("/v1/placements", call)
            .contains("no-such-route")
    );
    let (_, log) = served.terminate();
    let with_id: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("0b1c-2d"))
        .collect();
    let [line] = with_id[..] else {
        panic!("{log}");
    };
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["message"], &line["reason"]),
        (&json!("a call is refused"), &json!("no-such-route"))
    );
    assert_eq!(line["span"]["request_id"], "0b1c-2d");
}
