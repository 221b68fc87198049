//! The placement service as a process, with its configuration, its store and the account `demo`.

use crate::engine::{Engine, parse_listening_address};
use crate::process::Process;
use crate::{Result, paths, render};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The placement service.
pub struct Service {
    /// Its listening address.
    pub addr: SocketAddr,
    name: String,
    config: PathBuf,
    dir: PathBuf,
    process: Option<Process>,
}

/// The configuration of the demonstration.
///
/// # Errors
/// When `demo.yaml` cannot be read.
pub fn read_demo_config() -> Result<Value> {
    render::read_yaml(&paths::repository_root().join("placement-service/config/demo.yaml"))
}

/// The configuration of the demonstration with these engines, a store in `dir`, and the test's patches for the pool
/// and the whole.
///
/// # Errors
/// When `demo.yaml` cannot be read.
pub fn build_config(
    engines: &[Engine],
    dir: &Path,
    pool_patch: &Value,
    patch: &Value,
) -> Result<Value> {
    let mut tree = read_demo_config()?;
    let fixed: Vec<Value> = engines.iter().map(|engine| {
        json!({"name": engine.name, "ip": engine.api.ip(), "port": engine.api.port(), "metrics_port": engine.metrics.port()})
    }).collect();
    if let Some(pool) = tree.get_mut("pools").and_then(|pools| pools.get_mut(0)) {
        render::merge(pool, &json!({"discovery": {"static": fixed}}));
        render::merge(pool, pool_patch);
    }
    render::merge(&mut tree, &json!({"store": {"path": dir.join("berth.db")}}));
    // The settings of one kind of store are invalid for another kind.
    if patch.pointer("/store/kind").is_some()
        && let Some(store) = tree.get_mut("store")
    {
        *store = json!({});
    }
    render::merge(&mut tree, patch);
    Ok(tree)
}

impl Service {
    /// Writes `config`, adds the account `demo` and starts the service. Port 0 selects a free port.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(config: &Value, port: u16, dir: &Path) -> Result<Self> {
        let path = dir.join("berth.yaml");
        render::write(&path, config)?;
        let mut service = Self {
            addr: ([127, 0, 0, 1], port).into(),
            name: "berth".into(),
            config: path,
            dir: dir.to_owned(),
            process: None,
        };
        if !service.has_account("demo")? {
            service.add_account("demo", "demo-password", &["user"])?;
        }
        service.restart().await?;
        Ok(service)
    }

    /// Starts another replica on a free port, with the same configuration and therefore the same store.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start_replica(&self, number: usize) -> Result<Self> {
        let mut replica = Self {
            addr: ([127, 0, 0, 1], 0).into(),
            name: format!("berth-{number}"),
            config: self.config.clone(),
            dir: self.dir.clone(),
            process: None,
        };
        replica.restart().await?;
        Ok(replica)
    }

    fn has_account(&self, name: &str) -> Result<bool> {
        let list = match self.run_command(&["account", "ls"]) {
            // Before the first start.
            Err(error) if error.to_string().contains("there is no database") => return Ok(false),
            list => list?,
        };
        Ok(list
            .lines()
            .any(|line| line.split_whitespace().next() == Some(name)))
    }

    /// Runs a command of the service's program with its configuration, as an operator would.
    ///
    /// # Errors
    /// When the command fails; the error contains its output.
    pub fn run_command(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(paths::binary("berth")?);
        command.args(arguments).arg("--config").arg(&self.config);
        let output = command.output()?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("berth {}: {stderr}", arguments.join(" ")).into())
    }

    /// Adds an account on the command line, as an operator would.
    ///
    /// # Errors
    /// When `berth account add` fails; the error contains its output.
    pub fn add_account(&self, name: &str, password: &str, roles: &[&str]) -> Result<()> {
        let mut command = Command::new(paths::binary("berth")?);
        command
            .args(["account", "add", name, "--password-stdin", "--config"])
            .arg(&self.config);
        for role in roles {
            command.args(["--role", role]);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            writeln!(stdin, "{password}")?;
        }
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!(
            "berth account add {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into())
    }

    /// Starts it again on the same port.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let command = [
            paths::binary("berth")?.display().to_string(),
            "serve".into(),
            "--config".into(),
            self.config.display().to_string(),
            "--listen".into(),
            self.addr.to_string(),
        ];
        let mut process = Process::spawn(&self.name, &command, &self.dir)?;
        let line = process.wait_for_line("listening ", START_TIMEOUT).await?;
        self.addr = parse_listening_address(&line, "http")?;
        self.process = Some(process);
        Ok(())
    }

    /// Restarts it with a JSON merge patch on its configuration.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn reconfigure(&mut self, patch: &Value) -> Result<()> {
        let mut config = serde_json::from_slice(&std::fs::read(&self.config)?)?;
        render::merge(&mut config, patch);
        render::write(&self.config, &config)?;
        self.restart().await
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Suspends it (SIGSTOP): it accepts connections and does not respond.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    /// Continues it after [`Self::freeze`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }
}
