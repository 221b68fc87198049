//! Runs the `berth` command as a process: its output, its exit code, and that its log contains no secret.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[path = "cli/log.rs"]
mod log;
#[path = "cli/render.rs"]
mod render;

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PASSWORD: &str = "a-long-password";

fn berth_command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.args(args).env_remove("BERTH_CONFIG");
    command.env("BERTH_TOKEN_KEY", "k".repeat(40));
    command
}

fn run_berth(args: &[&str], input: &str) -> (Option<i32>, String, String) {
    let pipes = || Stdio::piped();
    let mut command = berth_command(args);
    command.stdin(pipes()).stdout(pipes()).stderr(pipes());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have exited already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn write_config(dir: &Path, more: &str) -> PathBuf {
    let file = dir.join("berth.yaml");
    let path = dir.join("berth.db");
    let store = format!("store: {{ kind: sqlite, path: {} }}", path.display());
    std::fs::write(&file, format!("{store}\n{more}\n")).unwrap();
    file
}

#[test]
fn check_prints_every_fault_with_the_file_name_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "colour: blue\nprobe: { failures: 0 }");
    let file = file.to_str().unwrap();
    let (code, out, err) = run_berth(&["check", file], "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let lines: Vec<&str> = err.lines().collect();
    assert!(lines[0].starts_with(&format!("{file}: colour: unknown field; known here: ")));
    assert_eq!(
        lines[1],
        format!("{file}: probe.failures: must be 1 to 1000, not 0")
    );
    assert_eq!(lines.len(), 2);
}

#[test]
fn check_accepts_a_valid_file_and_reads_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "tokens: { key: { file: /nowhere/key } }");
    let file = file.to_str().unwrap();
    let (code, out, _) = run_berth(&["check", "--without-secrets", file], "");
    assert_eq!(code, Some(0));
    assert!(out.ends_with(&format!("{file}: ok\n")), "{out}");
    let (code, _, err) = run_berth(&["check", file], "");
    assert_eq!(code, Some(1));
    assert!(err.starts_with(&format!("{file}: tokens.key: cannot read /nowhere/key: ")));
}

#[test]
fn accounts_are_added_once_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "");
    let file = file.to_str().unwrap();
    let add = |name: &str, more: &[&str], input: &str| {
        let args = [&["account", "add", name, "--config", file], more].concat();
        run_berth(&args, input)
    };
    let stdin = "--password-stdin";
    let roles = [stdin, "--role", "user", "--role", "admin"];
    let (code, out, err) = add("demo", &roles, &format!("{PASSWORD}\nmore"));
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "added demo\n", "")
    );
    let (code, _, err) = add("demo", &[stdin], "another-password");
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "the account \"demo\" exists already\n")
    );
    let (code, out, _) = add("demo", &[stdin, "--if-missing"], "another-password");
    assert_eq!((code, out.as_str()), (Some(0), "demo exists already\n"));
    let (code, _, err) = add("a b", &[stdin], PASSWORD);
    assert!(
        code == Some(1) && err.contains("\"a b\" is not a name"),
        "{err}"
    );
    let (code, _, err) = add("ann", &[stdin], "short\n");
    assert!(code == Some(1) && err.contains("8 characters"), "{err}");
    assert_eq!(
        add("ann", &[], PASSWORD).0,
        Some(2),
        "the password must come from somewhere"
    );
    let (_, out, _) = run_berth(&["account", "ls", "--config", file], "");
    assert_eq!(out, "demo\tuser,admin\topen\t0\t-\n");
}

#[test]
fn defaults_prints_the_default_file_and_it_is_valid() {
    let (code, out, _) = run_berth(&["defaults"], "");
    assert_eq!(code, Some(0));
    assert_eq!(out, include_str!("../config/default.yaml"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("default.yaml");
    std::fs::write(&file, out).unwrap();
    assert_eq!(run_berth(&["check", file.to_str().unwrap()], "").0, Some(0));
}

#[test]
fn help_names_every_command() {
    let (code, out, _) = run_berth(&["--help"], "");
    assert_eq!(code, Some(0));
    for command in [
        "serve", "check", "account", "sessions", "engines", "explain", "render", "defaults",
    ] {
        assert!(
            out.lines().any(|l| l.trim_start().starts_with(command)),
            "{out}"
        );
    }
}

#[test]
fn a_service_that_cannot_start_prints_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "tokens: { key: { env: BERTH_NO_SUCH_KEY } }");
    let (code, out, err) = run_berth(&["serve", "--config", file.to_str().unwrap()], "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let message = "tokens.key: the environment variable BERTH_NO_SUCH_KEY is not set";
    assert!(err.contains(message), "{err}");
}

struct RunningService {
    child: Child,
    address: String,
    /// The file that receives standard error.
    log: PathBuf,
}

impl RunningService {
    fn start(file: &Path) -> Self {
        let log = file.with_extension("log");
        let file = file.to_str().unwrap();
        let mut command = berth_command(&["serve", "--config", file, "--listen", "127.0.0.1:0"]);
        command.stderr(File::create(&log).unwrap());
        let command = command.stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening http=");
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self {
            child,
            address,
            log,
        }
    }

    fn post(&self, path: &str, body: Value) -> String {
        self.send("POST", path, "application/json", &body.to_string())
    }

    fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!("Content-Type: {content_type}\r\nConnection: close\r\nHost: h");
        let request =
            format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends SIGTERM. Returns the exit code and the whole log.
    fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let code = self.child.wait().unwrap().code();
        (code, std::fs::read_to_string(&self.log).unwrap())
    }
}

#[test]
fn sessions_of_a_running_service_are_listed_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "session: { cookie: { secure: false } }");
    let file = file.to_str().unwrap();
    let args = [
        "account",
        "add",
        "demo",
        "--password-stdin",
        "--config",
        file,
    ];
    run_berth(&args, PASSWORD);
    let served = RunningService::start(Path::new(file));
    let login = || {
        let body = json!({"username": "demo", "password": PASSWORD});
        let answer = served.post("/login", body);
        let id = answer.split("berth=").nth(1).unwrap();
        id.split(';').next().unwrap().to_owned()
    };
    let token = |id: &str| served.post("/v1/tokens", json!({"session": id}));
    let sessions =
        |args: &[&str]| run_berth(&[&["sessions"], args, &["--config", file]].concat(), "");
    let refused_within_a_second = |id: &str| {
        let began = Instant::now();
        while !token(id).contains("unknown-session") {
            assert!(began.elapsed() < Duration::from_secs(1));
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let ids = [login(), login(), login()];
    assert!(ids.iter().all(|id| token(id).contains("200 OK")));
    let (code, out, err) = sessions(&["ls", "--account", "demo"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0][1..4], ["demo", "", "berth"]);
    assert_eq!(lines[0][6..], ["-", "-"]);
    let (_, all, _) = sessions(&["ls", "--json"]);
    let all: Value = serde_json::from_str(&all).unwrap();
    assert_eq!(all["sessions"][0]["session_ref"], lines[0][0]);
    assert!(ids.iter().all(|id| !all.to_string().contains(id)));
    assert_eq!(sessions(&["ls", "--account", "ann"]).1, "");

    let (code, out, log) = sessions(&["end", lines[0][0]]);
    assert_eq!((code, out.as_str()), (Some(0), "ended 1\n"), "{log}");
    assert!(
        log.contains("session-ended") && log.contains("operator"),
        "{log}"
    );
    refused_within_a_second(&ids[0]);
    assert!(token(&ids[1]).contains("200 OK"));
    for name in [lines[0][0], "-hyphen", "--hyphen", "-h"] {
        let message = format!("there is no session {name:?}\n");
        assert_eq!(sessions(&["end", name]), (Some(1), String::new(), message));
    }
    assert_eq!(sessions(&["end"]).0, Some(2));
    assert_eq!(sessions(&["end", "x", "--account", "demo"]).0, Some(2));
    assert_eq!(sessions(&["end", "--account", "demo"]).1, "ended 2\n");
    refused_within_a_second(&ids[1]);
    refused_within_a_second(&ids[2]);
    served.terminate();
}

#[test]
fn serve_shuts_down_cleanly_and_logs_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let more = "log: { level: trace }\nsession: { cookie: { secure: false } }";
    let file = write_config(dir.path(), more);
    let args = ["account", "add", "demo", "--password-stdin", "--config"];
    run_berth(&[&args[..], &[file.to_str().unwrap()]].concat(), PASSWORD);
    let served = RunningService::start(&file);
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let login = json(&format!(r#"{{"username":"demo","password":"{PASSWORD}"}}"#));
    let answer = served.post("/login", login);
    let id = answer
        .split("berth=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let token = served.post("/v1/tokens", json(&format!(r#"{{"session":"{id}"}}"#)));
    let token = token
        .split("\"token\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let unknown = "u".repeat(43);
    served.post("/v1/tokens", json(&format!(r#"{{"session":"{unknown}"}}"#)));
    served.post(
        "/login",
        json(r#"{"username":"demo","password":"wrong-password"}"#),
    );
    let (code, log) = served.terminate();
    assert_eq!(code, Some(0), "{log}");
    let key = "k".repeat(40);
    for secret in [id, token, &unknown, PASSWORD, "wrong-password", &key] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let events: Vec<String> = log
        .lines()
        .map(json)
        .filter(|line| line["target"] == "berth::audit")
        .map(|line| line["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(events, ["login", "unknown-session", "login-failed"]);
}

#[test]
fn engines_are_listed_drained_and_explained() {
    let dir = tempfile::tempdir().unwrap();
    // No engine listens on these ports.
    let more = "api: { clients: [ { name: ops, role: operator, secret: { inline: operator-secret-1 } } ] }
pools: [ { name: p, driver: qix, cluster: c, discovery: { static: [
  { name: e, ip: 127.0.0.1, port: 1 } ] } }, { name: q, driver: qix, cluster: c, discovery: { static: [
  { name: e, ip: 127.0.0.1, port: 1 }, { name: f, ip: 127.0.0.1, port: 2 } ] } } ]
routes: [ { path: /x, pool: p } ]";
    let file = write_config(dir.path(), more);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let ask = |args: &[&str]| {
        let more = ["--service", &at, "--config", file.to_str().unwrap()];
        run_berth(&[args, &more].concat(), "")
    };
    let (code, out, err) = ask(&["engines", "ls"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let lines: Vec<Vec<&str>> = out.lines().map(|l| l.split('\t').collect()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[2][..3], ["q", "f", "127.0.0.1:2"]);
    assert_eq!((lines[2][4], lines[2][5]), ("-", "0"));
    assert_eq!(
        ask(&["engines", "drain", "e"]).2,
        "several pools have an engine \"e\": name it as p/e\n"
    );
    assert_eq!(
        ask(&["engines", "drain", "g"]).2,
        "there is no engine \"g\"\n"
    );
    assert!(
        ask(&["engines", "drain", "f", "--over", "x"])
            .2
            .contains("over: a time")
    );
    assert_eq!(
        ask(&["engines", "drain", "p/e", "--over", "5s"]).1,
        "p/e is drained\n"
    );
    let listed = ask(&["engines", "ls", "--json"]).1;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&listed[0]["draining"], &listed[1]["draining"]),
        (&json!(true), &json!(false))
    );
    let (code, out, err) = ask(&["explain", "/x"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with("pool p: - (no-engine)\n") && out.contains("e\tdraining\t"),
        "{out}"
    );
    assert_eq!(
        ask(&["engines", "undrain", "p/e"]).1,
        "p/e is no longer drained\n"
    );
    assert!(
        ask(&["explain", "/y"])
            .2
            .contains("No route takes this path")
    );
    served.terminate();
    let (code, _, err) = ask(&["engines", "ls"]);
    assert_eq!(code, Some(1));
    assert!(err.starts_with(&format!("the service at {at}: ")), "{err}");
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
