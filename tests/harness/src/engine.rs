//! An engine simulator as a process: starts it on free or given ports, kills and restarts it, injects faults and
//! reads its counters.

use crate::process::Process;
use crate::{Call, Result, paths};
use berth_engine_sim::{SessionView, Stats, Upgrade, Upgrades};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(15);

/// One engine simulator.
pub struct Engine {
    /// Its name in the service's configuration, `engine-0` and so on.
    pub name: String,
    /// Address of its WebSockets.
    pub api: SocketAddr,
    /// Address of its metrics, faults and counters.
    pub metrics: SocketAddr,
    args: Vec<String>,
    dir: PathBuf,
    process: Option<Process>,
}

impl Engine {
    /// Starts one. Port 0 selects a free port.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn start(
        name: &str,
        api: u16,
        metrics: u16,
        args: &[String],
        dir: &Path,
    ) -> Result<Self> {
        let mut engine = Self {
            name: name.to_owned(),
            api: ([127, 0, 0, 1], api).into(),
            metrics: ([127, 0, 0, 1], metrics).into(),
            args: args.to_vec(),
            dir: dir.to_owned(),
            process: None,
        };
        engine.restart().await?;
        Ok(engine)
    }

    /// Kills it at once. Its sockets are reset, and its ports refuse connections.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same ports, without its earlier state.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut command = vec![paths::binary("engine-sim")?.display().to_string()];
        command.extend(["--api".into(), self.api.to_string()]);
        command.extend(["--metrics".into(), self.metrics.to_string()]);
        command.extend(["--name".into(), self.name.clone()]);
        command.extend(self.args.iter().cloned());
        let mut process = Process::spawn(&self.name, &command, &self.dir)?;
        let line = process.wait_for_line("listening ", START_TIMEOUT).await?;
        self.api = parse_listening_address(&line, "api")?;
        self.metrics = parse_listening_address(&line, "metrics")?;
        self.process = Some(process);
        Ok(())
    }

    /// Suspends it (SIGSTOP): its ports accept connections, and nothing responds. [`Self::resume`] undoes it.
    pub fn freeze(&self) {
        if let Some(process) = &self.process {
            process.freeze();
        }
    }

    /// Continues it after [`Self::freeze`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sets faults. Faults that are not named stay as they are.
    ///
    /// # Errors
    /// When it does not accept them.
    pub async fn faults(&self, faults: Value) -> Result<()> {
        let reply = Call::post_json("/admin/faults", &faults)
            .send(self.metrics)
            .await?;
        if reply.status >= 300 {
            return Err(format!(
                "{}: faults {faults}: {} {}",
                self.name,
                reply.status,
                reply.text()
            )
            .into());
        }
        Ok(())
    }

    /// Removes all faults.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn heal(&self) -> Result<()> {
        Call::new("DELETE", "/admin/faults")
            .send(self.metrics)
            .await?;
        Ok(())
    }

    /// Its counters: sessions, sockets, documents and others.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn stats(&self) -> Result<Stats> {
        Ok(serde_json::from_slice(
            &Call::get("/admin/stats").send(self.metrics).await?.body,
        )?)
    }

    /// The latest upgrade requests that reached it, with all headers.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn upgrades(&self) -> Result<Vec<Upgrade>> {
        let reply = Call::get("/admin/upgrades").send(self.metrics).await?;
        Ok(serde_json::from_slice::<Upgrades>(&reply.body)?.latest)
    }

    /// Its open engine sessions.
    ///
    /// # Errors
    /// When it does not respond.
    pub async fn sessions(&self) -> Result<Vec<SessionView>> {
        let reply = Call::get("/admin/sessions").send(self.metrics).await?;
        Ok(serde_json::from_slice(&reply.body)?)
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

/// The address after `name=` in a `listening ...` line.
///
/// # Errors
/// When the line does not name it.
pub fn parse_listening_address(line: &str, name: &str) -> Result<SocketAddr> {
    let fields = line
        .split_whitespace()
        .filter_map(|field| field.split_once('='));
    let address = fields
        .into_iter()
        .find(|(key, _)| *key == name)
        .map(|(_, addr)| addr);
    Ok(address
        .ok_or_else(|| format!("no {name}= in `{line}`"))?
        .parse()?)
}
