//! Runs test files of Node.js against a stack, and counts their results.

use berth_harness::{Result, paths};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

/// Chromium's program, for tests in a browser.
pub(crate) const CHROMIUM: &str = "/usr/bin/chromium";

/// Fails with a hint when a needed file is missing.
pub(crate) fn require(file: &Path, hint: &str) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    Err(format!("{} is missing: `make setup`, or {hint}", file.display()).into())
}

/// Runs files of a folder below `tests`, each with at most `limit_s` seconds, with these environment variables. Exactly `tests` tests must pass, and
/// none may be skipped.
pub(crate) async fn run(
    folder: &str,
    files: &[&str],
    tests: usize,
    limit_s: u32,
    env: &[(&str, String)],
) -> Result<()> {
    let folder = paths::repository_root().join("tests").join(folder);
    let output = Command::new("node")
        .args(["--test", "--test-reporter=tap", "--test-concurrency=2"])
        .arg(format!("--test-timeout={limit_s}000"))
        .args(files.iter().map(|file| folder.join(file)))
        .envs(env.iter().map(|(name, value)| (name, value)))
        .env("BERTH_CHROMIUM", CHROMIUM)
        .env("BERTH_SCREENSHOTS", paths::target_dir().join("browser"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    // For the reader, and for tests/setup/test.sh, which counts the results.
    std::io::stdout().write_all(&output.stdout)?;
    std::io::stderr().write_all(&output.stderr)?;
    let log = String::from_utf8_lossy(&output.stdout);
    let count = |what: &str| {
        let line = log.lines().find_map(|line| line.strip_prefix(what));
        line.and_then(|count| count.trim().parse::<usize>().ok())
    };
    assert!(output.status.success(), "{files:?}: {}", output.status);
    assert_eq!(
        (count("# pass "), count("# skipped ")),
        (Some(tests), Some(0)),
        "passed and skipped in {files:?}"
    );
    Ok(())
}
