//! A real OpenID provider (npm `oidc-provider`) as a process, with the one client that the tests need.

use crate::engine::parse_listening_address;
use crate::process::Process;
use crate::{Call, Result, paths};
use serde_json::{Value, json};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// The secret by which the site authenticates to the provider.
pub const CLIENT_SECRET: &str = "the secret of the client";
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running provider. It ends when this is dropped.
pub struct OidcProvider {
    /// Its listening address.
    pub addr: SocketAddr,
    /// Its process.
    pub process: Process,
}

impl OidcProvider {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(dir: &Path) -> Result<Self> {
        let script = paths::repository_root().join("tests/provider/provider.mjs");
        let command = ["node".to_owned(), script.display().to_string()];
        let mut process = Process::spawn("oidc-provider", &command, dir)?;
        let line = process.wait_for_line("listening ", START_TIMEOUT).await?;
        let addr = parse_listening_address(&line, "http")?;
        Ok(Self { addr, process })
    }

    /// The `oidc` section of a service that uses this provider under the name `idp`.
    #[must_use]
    pub fn config(&self) -> Value {
        json!([{
            "name": "idp",
            "issuer": format!("http://{}", self.addr),
            "client_id": "berth",
            "client_secret": {"inline": CLIENT_SECRET},
            "scopes": ["profile"],
            "roles": {"claim": "groups", "map": {"idp-admins": "admin", "staff": "user"}},
        }])
    }

    /// Registers the site at this host and port as a client.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn register(&self, site: impl Display) -> Result<()> {
        let base = format!("http://{site}/login");
        let client = json!({
            "redirect_uris": [format!("{base}/oidc/idp/callback")],
            "post_logout_redirect_uris": [base],
            "backchannel_logout_uri": format!("{base}/oidc/idp/back-channel-logout"),
        });
        self.post_control("/control/client", &client).await
    }

    /// Replaces its signing keys.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn rotate_keys(&self) -> Result<()> {
        self.post_control("/control/rotate", &json!({})).await
    }

    /// The tokens that the site received without the browser: access, ID and logout tokens.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn issued_tokens(&self) -> Result<Vec<String>> {
        let reply = Call::get("/control/issued").send(self.addr).await?;
        Ok(serde_json::from_slice(&reply.body)?)
    }

    async fn post_control(&self, path: &str, body: &Value) -> Result<()> {
        let reply = Call::post_json(path, body).send(self.addr).await?;
        match reply.status {
            200 => Ok(()),
            status => Err(format!("{path}: {status} {}", reply.text()).into()),
        }
    }
}
