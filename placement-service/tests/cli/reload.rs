//! A reload of the configuration: what takes effect, what needs a restart, and that no request and no connection is lost.

use super::running_service::{RunningService, send_request};
use super::{run_berth, write_config};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn client(name: &str) -> String {
    format!("{{ name: {name}, role: operator, secret: {{ inline: secret-of-the-client-{name} }} }}")
}

/// A file with which commands authenticate as this client.
fn operator_file(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(format!("{name}.yaml"));
    let text = format!("api: {{ clients: [ {} ] }}", client(name));
    std::fs::write(&file, text).unwrap();
    file
}

/// A connection that stays open between requests.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn open(address: &str) -> Self {
        Self(BufReader::new(TcpStream::connect(address).unwrap()))
    }

    fn send(&mut self, path: &str, body: &str) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json");
        let length = body.len();
        let request = format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
    }

    /// The status line and the body.
    fn receive(&mut self) -> (String, String) {
        let mut status = String::new();
        self.0.read_line(&mut status).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

#[test]
fn a_reload_changes_settings_and_drops_neither_a_request_nor_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let pool = "pools: [ { name: p, driver: websocket, cluster: c, discovery: { static: [] } } ]";
    let old = format!("api: {{ clients: [ {} ] }}\n{pool}", client("old"));
    let file = write_config(dir.path(), &old);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let berth = |name: &str, args: &[&str]| {
        let file = operator_file(dir.path(), name);
        let more = ["--service", &at, "--config", file.to_str().unwrap()];
        run_berth(&[args, &more].concat(), "")
    };
    let (code, out, err) = berth("old", &["reload"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.ends_with("\nno change takes effect\n"), "{out}");

    // A long poll of a gateway is in flight, and another connection is idle between two requests.
    let mut poll = Connection::open(&served.address);
    let identity = json!({"node": "edge-0", "version": "1", "uptime_ms": 1});
    let first = json!({"sequence": 1, "cursor": "now", "poll_timeout_ms": 0, "identity": identity});
    poll.send("/v1/gateways/g/events", &first.to_string());
    let (_, answer) = poll.receive();
    let cursor = serde_json::from_str::<Value>(&answer).unwrap()["cursor"].clone();
    let held =
        json!({"sequence": 2, "cursor": cursor, "poll_timeout_ms": 25_000, "identity": identity});
    poll.send("/v1/gateways/g/events", &held.to_string());
    let mut idle = Connection::open(&served.address);
    idle.send("/v1/tokens", "{}");
    assert!(idle.receive().0.contains("400"));

    let new = format!(
        "{pool}\nroutes: [ {{ path: '/new/{{document}}', pool: p }} ]\napi: {{ clients: [ {} ] }}\nlog: {{ level: debug }}\nlisten: 127.0.0.1:1\ntokens: {{ audience: other }}\n\
         gateways: {{ secret: {{ env: BERTH_TOKEN_KEY }} }}\nwebhooks: [ {{ name: w, url: 'http://127.0.0.1:1/', secret: {{ inline: whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3 }} }} ]\n\
         oidc: [ {{ name: company, issuer: 'http://127.0.0.1:1', client_id: berth, roles: {{ claim: groups, map: {{ a: user }} }} }} ]",
        client("new")
    );
    write_config(dir.path(), &new);
    let (code, out, err) = berth("old", &["reload"]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<&str> = out
        .lines()
        .filter(|l| !l.starts_with("warning: "))
        .collect();
    assert_eq!(
        lines,
        [
            "in force now: api.clients, log.level, oidc, routes, webhooks",
            "needs a restart of the service: gateways.secret, listen, tokens.audience",
            "the files of the edge have changed: run `berth render` again"
        ]
    );

    // The previous client is refused, the new one is not.
    let (code, _, err) = berth("old", &["engines", "ls"]);
    assert!(code == Some(1) && err.contains("403 "), "{err}");
    assert_eq!(berth("new", &["engines", "ls", "--no-headers"]).0, Some(0));
    let (_, explained, _) = berth("new", &["explain", "/new/x"]);
    assert!(
        explained.starts_with("pool p: - (no-engine)"),
        "{explained}"
    );
    let page = send_request(&served.address, "GET", "/login", "text/html", "");
    assert!(page.contains("/login/oidc/company"), "{page}");
    let metrics = send_request(&served.address, "GET", "/metrics", "text/plain", "");
    assert!(metrics.contains("webhook=\"w\""), "{metrics}");

    // What is in force, without secrets.
    let (_, shown, _) = berth("new", &["config", "show"]);
    assert!(!shown.contains("secret-of-the-client"), "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["log"]["level"], "debug");
    assert_eq!(shown["api"]["clients"][0]["secret"]["inline"], "(hidden)");
    assert_ne!(shown["tokens"]["audience"], "other");
    assert_ne!(shown["listen"], "127.0.0.1:1");

    idle.send("/v1/tokens", "{}");
    assert!(idle.receive().0.contains("400"), "the same connection");
    assert_eq!(berth("new", &["gateways", "drain", "edge-0"]).0, Some(0));
    let (status, answer) = poll.receive();
    assert!(
        status.contains("200") && answer.contains("drain"),
        "{answer}"
    );
    served.terminate();
}

#[test]
fn a_file_with_faults_leaves_the_previous_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let good = format!(
        "api: {{ clients: [ {} ] }}\nlog: {{ level: info }}",
        client("ops")
    );
    let file = write_config(dir.path(), &good);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let operator = operator_file(dir.path(), "ops");
    let berth = |args: &[&str]| {
        let more = ["--service", &at, "--config", operator.to_str().unwrap()];
        run_berth(&[args, &more].concat(), "")
    };
    let level = || {
        let (_, shown, _) = berth(&["config", "show"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["log"]["level"].as_str().unwrap().to_owned()
    };
    for (change, faults) in [
        (
            "colour: blue\nprobe: { failures: 0 }",
            &["colour: unknown field", "probe.failures: must be"][..],
        ),
        (
            "gateways: { secret: { env: NOWHERE_SET } }",
            &["gateways.secret: the environment variable NOWHERE_SET is not set"],
        ),
    ] {
        let faulty = good.replace("info", "debug");
        write_config(dir.path(), &format!("{faulty}\n{change}"));
        let (code, out, err) = berth(&["reload"]);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        let place = format!("the service at {at}: 422 ");
        assert!(err.starts_with(&place), "{err}");
        for fault in faults {
            assert!(err.contains(fault), "{err}");
        }
        assert_eq!(level(), "info");
    }

    // The signal does the same, and the log says so.
    let log = file.with_extension("log");
    let wait_for = |message: &str, times: usize| {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if text.matches(message).count() == times {
                return text;
            }
            assert!(Instant::now() < deadline, "{message} is not in {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let hang_up = || {
        let kill = ["-HUP", &served.pid().to_string()].map(str::to_owned);
        assert!(Command::new("kill").args(kill).status().unwrap().success());
    };
    hang_up();
    // Twice for an operator, once for the signal.
    let faults = "the configuration file has faults: the previous one stays in force";
    let text = wait_for(faults, 3);
    assert_eq!(text.matches("NOWHERE_SET").count(), 2, "{text}");
    write_config(dir.path(), &good.replace("info", "debug"));
    hang_up();
    wait_for("the configuration is reloaded", 1);
    assert_eq!(level(), "debug");
    served.terminate();
}
