//! Runs the `berth` command as a process: its output, its exit code, and that its log contains no secret.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[path = "cli/edge.rs"]
mod edge;
#[path = "cli/gateways.rs"]
mod gateways;
#[path = "cli/health.rs"]
mod health;
#[path = "cli/log.rs"]
mod log;
#[path = "cli/operators.rs"]
mod operators;
#[path = "cli/output.rs"]
mod output;
#[path = "cli/reload.rs"]
mod reload;
#[path = "cli/render.rs"]
mod render;
#[path = "cli/render_manifests.rs"]
mod render_manifests;
#[path = "cli/running_service.rs"]
mod running_service;

#[path = "cli/streams.rs"]
mod streams;

use running_service::RunningService;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

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

/// The cells of each line of a table.
fn rows(table: &str) -> Vec<Vec<&str>> {
    let cells = |line| {
        let cells = str::split(line, "   ").map(str::trim);
        cells.filter(|cell| !cell.is_empty()).collect()
    };
    table.lines().map(cells).collect()
}

fn write_config(dir: &Path, more: &str) -> PathBuf {
    let file = dir.join("berth.yaml");
    let path = dir.join("berth.db");
    let store = format!("store: {{ kind: sqlite, path: {} }}", path.display());
    std::fs::write(&file, format!("{store}\n{more}\n")).unwrap();
    file
}

#[test]
fn without_a_file_a_command_says_what_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let fail = |args: &[&str]| {
        let mut command = berth_command(args);
        let command = command.env_remove("BERTH_TOKEN_KEY").current_dir(&dir);
        let output = command.output().unwrap();
        let files = std::fs::read_dir(&dir).unwrap().count();
        assert_eq!(files, 0, "{args:?} creates a database");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let no_file = "no configuration file: name one with --config FILE or BERTH_CONFIG\n";
    for (args, lacks) in [
        (
            &["serve", "--listen", "127.0.0.1:0"][..],
            "defaults: tokens.key: the environment variable BERTH_TOKEN_KEY is not set\n",
        ),
        (
            &["engines", "ls"],
            "defaults: api.clients: has no operator, whose secret the request needs\n",
        ),
        (&["sessions", "ls"], ""),
        (&["account", "ls"], ""),
        (&["account", "add", "ada", "--password-stdin"], ""),
        (
            &["explain", "/app/x"],
            "defaults: api.clients: has no operator, whose secret the request needs\n",
        ),
    ] {
        let error = fail(args);
        assert!(error.ends_with(&format!("{lacks}{no_file}")), "{error}");
    }
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
fn check_names_faults_of_routes_and_warns_of_engines_on_the_host_of_the_login() {
    let dir = tempfile::tempdir().unwrap();
    let pool =
        "pools: [ { name: p, driver: websocket, cluster: c, discovery: { static: [] } } ]\nroutes:";
    let route = |more: &str| format!("{pool} [ {{ path: '/jup/{{rest}}', pool: p, {more} }} ]");
    let faulty = route(
        "host: '{team}.example.com', http: allow, rewrite: x, headers: { cookie: a, x-user: '{user}' }",
    );
    let file = write_config(dir.path(), &faulty);
    let file = file.to_str().unwrap();
    let (code, _, err) = run_berth(&["check", "--without-secrets", file], "");
    let faults: Vec<&str> = err
        .lines()
        .map(|line| line.split(": ").nth(1).unwrap())
        .collect();
    assert_eq!(code, Some(1));
    assert_eq!(
        faults,
        [
            "routes[0].affinity.key",
            "routes[0].headers.cookie",
            "routes[0].headers.x-user",
            "routes[0].host",
            "routes[0].rewrite"
        ]
    );
    let valid = route(
        "http: allow, affinity: { key: account }, rewrite: '/{rest}', headers: { x-user: '{account}' }",
    );
    write_config(dir.path(), &valid);
    let (code, out, err) = run_berth(&["check", "--without-secrets", file], "");
    let text = format!("{out}{err}");
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("routes[0].http is allow on the host of /login"),
        "{text}"
    );
}

#[test]
fn check_reports_the_faults_of_secrets_with_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let pool = "name: p, driver: qix, cluster: c, discovery: { static: [] }";
    let settings = format!(
        "gateways: {{ secret: {{ env: NOWHERE_SET }} }}\n\
         api: {{ clients: [ {{ name: ops, role: operator, secret: {{ inline: short }} }} ] }}\n\
         tokens: {{ lifetme: 5m, key: {{ env: NOWHERE_SET_EITHER }} }}\n\
         pools: [ {{ {pool}, drain_over: 20 }} ]\nroutes: [ {{ path: /a, pool: p }} ]"
    );
    let file = write_config(dir.path(), &settings);
    let (code, _, err) = run_berth(&["check", file.to_str().unwrap()], "");
    assert_eq!(code, Some(1), "{err}");
    let faults: Vec<&str> = err
        .lines()
        .filter_map(|line| line.split_once("berth.yaml: ").map(|(_, fault)| fault))
        .collect();
    assert_eq!(faults.len(), 4, "{err}");
    for (fault, expected) in faults.iter().zip([
        "api.clients[0].secret: must have 16 or more visible ASCII characters",
        "gateways.secret: the environment variable NOWHERE_SET is not set",
        "pools[0].drain_over: unknown field; did you mean drain_duration? known here: ",
        // The key belongs to a section that cannot be read.
        "tokens.lifetme: unknown field; did you mean lifetime? known here: ",
    ]) {
        assert!(fault.starts_with(expected), "{fault}");
    }
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
    assert_eq!(
        rows(&out),
        [
            ["ACCOUNT", "ROLES", "STATE", "FAILURES", "LOCKED UNTIL"],
            ["demo", "user,admin", "open", "0", "-"]
        ]
    );
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
    assert!(out.contains("Exit codes: 0 success, 1 failure"), "{out}");
    for command in [
        "serve",
        "check",
        "account",
        "sessions",
        "engines",
        "gateways",
        "explain",
        "health",
        "render",
        "defaults",
        "reload",
        "config",
        "completions",
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
        json(r#"{"username":"demo","password":"a-mistyped-password"}"#),
    );
    let (code, log) = served.terminate();
    assert_eq!(code, Some(0), "{log}");
    let key = "k".repeat(40);
    for secret in [id, token, &unknown, PASSWORD, "a-mistyped-password", &key] {
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
