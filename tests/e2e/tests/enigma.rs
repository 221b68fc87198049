//! enigma.js, the client that people use, through Envoy with nothing but a login cookie.

use berth_harness::{Result, Stack, paths};
use serde_json::Value;
use std::process::Stdio;
use tokio::process::Command;

const PATHS: [&str; 3] = [
    "/app/sales.qvf",
    "/doc/doc/drugcases.qvf",
    "/doc/session-doc",
];

#[tokio::test]
async fn enigma_js_works_on_all_three_routes() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    let output = Command::new("node")
        .arg(paths::root().join("tests/clients/enigma.mjs"))
        .args(PATHS)
        .env("BERTH_URL", format!("http://{}", stack.http()))
        .env("BERTH_COOKIE", &cookie)
        .stdin(Stdio::null())
        .output()
        .await?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let lines = String::from_utf8(output.stdout)?;
    let answers = lines.lines().map(serde_json::from_str);
    let answers: Vec<Value> = answers.collect::<Result<_, _>>()?;
    let paths: Vec<&str> = answers.iter().filter_map(|a| a["path"].as_str()).collect();
    assert_eq!(paths, PATHS, "{error}");
    for answer in &answers {
        assert_eq!(answer["qSessionState"], "SESSION_ATTACHED", "{answer}");
        assert!(answer["qComponentVersion"].is_string(), "{answer}");
        assert!(answer["title"].is_string(), "{answer}");
    }
    Ok(())
}
