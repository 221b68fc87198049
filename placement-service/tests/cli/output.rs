//! What commands print, where: formats of lists, completions, errors with their place, and what happens when nobody reads.

use super::running_service::send_request;
use super::{PASSWORD, RunningService, berth_command, run_berth, write_config};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

const OPERATOR: &str =
    "api: { clients: [ { name: ops, role: operator, secret: { inline: operator-secret-1 } } ] }";

#[test]
fn every_shell_gets_completions_with_all_commands() {
    for (shell, part) in [
        ("bash", "_berth()"),
        ("zsh", "#compdef berth"),
        ("fish", "complete -c berth"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let (code, out, err) = run_berth(&["completions", shell], "");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{shell}");
        for part in [part, "undrain", "no-headers", "explain"] {
            assert!(out.contains(part), "{shell}: {part}");
        }
    }
    assert_eq!(run_berth(&["completions", "cmd"], "").0, Some(2));
}

/// A command whose standard output nobody reads.
#[test]
fn a_closed_pipe_neither_fails_a_command_nor_prints_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "");
    let file = file.to_str().unwrap();
    for args in [
        &["defaults"][..],
        &["completions", "bash"],
        &["--help"],
        &["check", file],
        &["render", "envoy"],
        &[
            "account",
            "add",
            "ada",
            "--password-stdin",
            "--config",
            file,
        ],
        &["account", "ls", "--config", file],
        &["sessions", "ls", "--config", file],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = berth_command(args);
        let command = command.stdin(Stdio::piped()).stdout(writer);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // A command that does not read its input may have exited already.
        let _ = std::io::Write::write_all(&mut input, PASSWORD.as_bytes());
        drop(input);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), err.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

/// The reader of the log is gone, such as a log collector that has crashed.
#[test]
fn a_service_whose_log_nobody_reads_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let file = write_config(dir.path(), "log: { level: trace }");
    let (reader, writer) = std::io::pipe().unwrap();
    let file = file.to_str().unwrap();
    let args = ["serve", "--config", file, "--listen", "127.0.0.1:0"];
    let mut command = berth_command(&args);
    let command = command.stdout(Stdio::piped()).stderr(writer);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let address = line.trim_end().strip_prefix("listening http=").unwrap();
    for _ in 0..3 {
        let body = json!({"session": "u".repeat(43)});
        // It writes an audit line.
        let body = body.to_string();
        let answer = send_request(address, "POST", "/v1/tokens", "application/json", &body);
        assert!(answer.contains("unknown-session"), "{answer}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn errors_name_the_host_and_the_setting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.yaml");
    let file = path.to_str().unwrap();
    let fail = |config: &str, args: &[&str]| {
        std::fs::write(&path, config).unwrap();
        let (code, out, err) = run_berth(&[args, &["--config", file]].concat(), "");
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}");
        err
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (scheme, kind) in [("postgres", "postgres"), ("redis", "redis")] {
        let url = format!("{scheme}://user:a-secret@127.0.0.1:{port}/0");
        let config = format!("store: {{ kind: {kind}, url: {{ inline: '{url}' }} }}");
        let err = fail(&config, &["sessions", "ls"]);
        let place = format!("{file}: store.url: 127.0.0.1:{port}: ");
        assert!(err.starts_with(&place), "{err}");
        assert!(!err.contains("a-secret"), "{err}");
    }
    let missing = dir.path().join("no/berth.db");
    let config = format!("store: {{ kind: sqlite, path: {} }}", missing.display());
    for args in [&["sessions", "ls"][..], &["account", "ls"]] {
        let expected = format!(
            "{file}: store.path: there is no database {}\n",
            missing.display()
        );
        assert_eq!(fail(&config, args), expected);
        assert!(!missing.exists());
    }
    let config = format!("listen: 127.0.0.1:{port}\n{OPERATOR}");
    let err = fail(&config, &["engines", "ls"]);
    let place = format!("the service at http://127.0.0.1:{port} (`listen` of {file}): ");
    assert!(err.starts_with(&place), "{err}");
    let err = fail(OPERATOR, &["engines", "ls", "--service", "somewhere"]);
    assert!(
        err.starts_with("--service: \"somewhere\" is not a URL"),
        "{err}"
    );

    let file = write_config(dir.path(), OPERATOR);
    let served = RunningService::start(&file);
    let at = format!("http://{}", served.address);
    let other = OPERATOR.replace("operator-secret-1", "operator-secret-2");
    let err = fail(&other, &["engines", "ls", "--service", &at]);
    assert!(
        err.starts_with(&format!("the service at {at}: 403 ")),
        "{err}"
    );
    let client = "; the request has the secret of the client \"ops\" of api.clients\n";
    assert!(err.ends_with(client), "{err}");
    served.terminate();
}
