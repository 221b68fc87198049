//! enigma.js, the client that people use, in Node: each path is opened with nothing but a login cookie, and
//! what the engine says there comes back.

use crate::{Result, Stack, paths};
use serde_json::Value;
use std::process::Stdio;
use tokio::process::Command;

impl Stack {
    /// Opens the paths through Envoy, one after the other; an answer for each.
    ///
    /// # Errors
    /// When the client fails: with what it wrote.
    pub async fn enigma(&self, cookie: &str, routes: &[&str]) -> Result<Vec<Value>> {
        let output = Command::new("node")
            .arg(paths::root().join("tests/clients/enigma.mjs"))
            .args(routes)
            .env("BERTH_URL", format!("http://{}", self.http()))
            .env("BERTH_COOKIE", cookie)
            .stdin(Stdio::null())
            .output()
            .await?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let lines = String::from_utf8(output.stdout)?;
        let answers = lines.lines().map(serde_json::from_str);
        Ok(answers.collect::<std::result::Result<_, _>>()?)
    }
}
