//! `berth account` next to a running service: changes take effect in the service within a second.

use crate::site::{Answer, LONG_CACHE, PASSWORD, Site, session_id};
use serde_json::json;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NEW_PASSWORD: &str = "another-password";

/// As [`run_account_with`], with the store as the only setting.
fn run_account(site: &Site, arguments: &[&str]) -> (Option<i32>, String, String) {
    run_account_with(site, "", arguments)
}

/// Runs `berth account ARGUMENTS` on the site's store and with `more` lines of YAML, with the new password on standard
/// input. Returns the exit code, the output and the errors.
pub(crate) fn run_account_with(
    site: &Site,
    more: &str,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let file = site.directory().join("cli.yaml");
    let store = site.directory().join("berth.db");
    let yaml = format!(
        "store: {{ kind: sqlite, path: {}, timeout: 10s }}\n{more}",
        store.display()
    );
    std::fs::write(&file, yaml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
    command.arg("account").args(arguments);
    command.arg("--config").arg(file);
    let pipes = || Stdio::piped();
    command.stdin(pipes()).stdout(pipes()).stderr(pipes());
    let mut child = command.spawn().unwrap();
    // A command that does not read its input may have exited already.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(NEW_PASSWORD.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    (output.status.code(), out.trim_end().to_owned(), err)
}

async fn log_in(site: &Site, password: &str) -> Answer {
    let body = json!({"username": "demo", "password": password});
    site.post_json("/login", body).await
}

/// Checks that the service refuses the session within a second although it has the session in memory.
async fn assert_refused_within_a_second(site: &Site, id: &str) {
    let started_at = Instant::now();
    while site.token(id).await.status == 200 {
        assert!(
            started_at.elapsed() < Duration::from_secs(1),
            "the session is still accepted"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(site.token(id).await.reason(), "unknown-session");
}

#[tokio::test]
async fn lock_passwd_and_roles_end_the_sessions_with_their_cause() {
    let site = Site::start(LONG_CACHE).await;
    for (arguments, message, cause) in [
        (
            &["lock", "demo"][..],
            "locked demo; 3 sessions ended",
            "account-locked",
        ),
        (
            &["passwd", "demo", "--password-stdin"],
            "demo has a new password; 3 sessions ended",
            "password-changed",
        ),
        (
            &["roles", "demo", "--role", "admin", "--role", "user"],
            "demo has new roles; 3 sessions ended",
            "roles-changed",
        ),
    ] {
        let password = if cause == "roles-changed" {
            NEW_PASSWORD
        } else {
            PASSWORD
        };
        for _ in 0..2 {
            assert_eq!(log_in(&site, password).await.status, 200, "{cause}");
        }
        let id = session_id(&log_in(&site, password).await);
        assert_eq!(site.token(&id).await.status, 200);
        let (code, out, audit) = run_account(&site, arguments);
        assert_eq!((code, out.as_str()), (Some(0), message));
        let audit: Vec<serde_json::Value> = audit
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(audit.len(), 3);
        for line in audit {
            assert_eq!(line["event"], "session-ended");
            assert_eq!(
                (&line["cause"], &line["account"]),
                (&json!(cause), &json!("demo"))
            );
        }
        assert_refused_within_a_second(&site, &id).await;
        if cause == "account-locked" {
            assert_eq!(log_in(&site, PASSWORD).await.reason(), "login-failed");
            let (code, out, _) = run_account(&site, &["unlock", "demo"]);
            assert_eq!((code, out.as_str()), (Some(0), "unlocked demo"));
        }
    }
    assert_eq!(
        log_in(&site, PASSWORD).await.status,
        401,
        "the old password"
    );
    let now = log_in(&site, NEW_PASSWORD).await;
    assert_eq!(now.json()["roles"], json!(["admin", "user"]));
}

#[tokio::test]
async fn ls_shows_locks_and_failures_and_unlock_clears_them() {
    let site = Site::start("").await;
    for _ in 0..3 {
        log_in(&site, "wrong").await;
    }
    let list = || {
        let (_, out, _) = run_account(&site, &["ls", "--no-headers"]);
        out.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(), "demo user open 3 -");
    for _ in 0..2 {
        log_in(&site, "wrong").await;
    }
    let locked_out = list();
    assert!(
        locked_out.starts_with("demo user locked-out 5 2"),
        "{locked_out}"
    );
    assert!(locked_out.ends_with('Z'), "{locked_out}");
    run_account(&site, &["lock", "demo"]);
    assert!(list().starts_with("demo user locked 5 2"), "{}", list());
    run_account(&site, &["unlock", "demo"]);
    assert_eq!(list(), "demo user open 0 -");
    assert_eq!(log_in(&site, PASSWORD).await.status, 200);
    let (_, out, _) = run_account(&site, &["roles", "demo", "--none"]);
    assert_eq!(out, "demo has new roles; 1 session ended");
    assert_eq!(list(), "demo - open 0 -");
    let (_, out, _) = run_account(&site, &["roles", "demo", "--none"]);
    assert_eq!(out, "demo has these roles already");
}

#[tokio::test]
async fn impossible_account_commands_fail_with_a_message() {
    let site = Site::start("").await;
    for arguments in [
        &["lock", "bob"][..],
        &["unlock", "bob"],
        &["passwd", "bob", "--password-stdin"],
        &["roles", "bob", "--role", "user"],
    ] {
        let (code, out, err) = run_account(&site, arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert_eq!(err, "there is no account \"bob\"\n");
    }
    let (code, _, err) = run_account(&site, &["roles", "demo", "--role", "a b"]);
    assert!(
        code == Some(1) && err.starts_with("\"a b\" is not a name"),
        "{err}"
    );
    for arguments in [
        &["roles", "demo"][..],
        &["roles", "demo", "--none", "--role", "x"],
        &["passwd", "demo"],
        &["lock"],
    ] {
        assert_eq!(run_account(&site, arguments).0, Some(2), "{arguments:?}");
    }
    let (_, help, _) = run_account(&site, &["--help"]);
    for command in ["add", "lock", "unlock", "passwd", "roles", "ls"] {
        assert!(
            help.lines().any(|l| l.trim_start().starts_with(command)),
            "{help}"
        );
    }
}

#[tokio::test]
async fn a_removed_account_is_gone_with_its_sessions() {
    let site = Site::start(LONG_CACHE).await;
    let id = site.login().await;
    let (code, out, err) = run_account(&site, &["rm", "demo"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "removed demo; 1 session ended"),
        "{err}"
    );
    assert!(err.contains("account-removed"), "{err}");
    assert_refused_within_a_second(&site, &id).await;
    assert_eq!(log_in(&site, PASSWORD).await.reason(), "login-failed");
    let names = run_account(&site, &["ls", "-o", "name"]).1;
    assert_eq!(names, "", "decoys are not listed");
    let (code, _, err) = run_account(&site, &["rm", "demo"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("there is no account \"demo\""), "{err}");
}
