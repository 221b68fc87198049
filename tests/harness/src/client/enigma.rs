//! enigma.js, the client library that applications use, in Node. It opens each path with a login cookie alone and
//! returns the engine's answers.

use crate::{Result, Stack, paths};
use serde_json::Value;
use std::process::Stdio;
use tokio::process::Command;

impl Stack {
    /// Opens the paths through Envoy one after the other. Returns one answer per path.
    ///
    /// # Errors
    /// When the client fails; the error contains its output.
    pub async fn open_with_enigma(&self, cookie: &str, routes: &[&str]) -> Result<Vec<Value>> {
        let output = Command::new("node")
            .arg(paths::repository_root().join("tests/clients/enigma.mjs"))
            .args(routes)
            .env("BERTH_URL", format!("http://{}", self.address()))
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
