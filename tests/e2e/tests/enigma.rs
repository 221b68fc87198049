//! enigma.js, the client that people use, through Envoy with nothing but a login cookie.

use berth_harness::{Result, Stack, paths};
use std::process::Stdio;
use tokio::process::Command;

#[tokio::test]
async fn enigma_js_works_on_all_three_routes() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    let output = Command::new("node")
        .arg(paths::root().join("tests/clients/enigma.mjs"))
        .env("BERTH_URL", format!("ws://{}", stack.http()))
        .env("BERTH_COOKIE", &cookie)
        .stdin(Stdio::null())
        .output()
        .await?;
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{out}{err}");
    for path in [
        "/app/sales.qvf",
        "/doc/doc/drugcases.qvf",
        "/doc/session-doc",
    ] {
        assert!(out.contains(&format!("ok {path} ")), "{path}: {out}{err}");
    }
    Ok(())
}
