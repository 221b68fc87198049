//! Reloads the configuration file while the service runs, on SIGHUP or for an operator: checks the whole file first,
//! then replaces what can change. A file with faults changes nothing. Must not know how requests are served.

use super::live::LiveApp;
use super::telemetry::LogLevel;
use super::{build, secrets};
use crate::config::fault::{Fault, Faults};
use crate::config::{Config, load};
use crate::http::reloads::{ReloadReply, ReloadReport};
use crate::render::{self, Source, Target};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

/// Reloads one file.
pub struct Reloader {
    file: PathBuf,
    live: LiveApp,
    log: LogLevel,
}

impl Reloader {
    /// Reloads `file` into `live`, which was built from it.
    #[must_use]
    pub const fn new(file: PathBuf, live: LiveApp, log: LogLevel) -> Self {
        Self { file, live, log }
    }

    /// Serves requests and signals one after the other, until the task is aborted.
    pub async fn run(self, mut requests: mpsc::Receiver<ReloadReply>, mut hangups: Signal) {
        loop {
            let reply = tokio::select! {
                Some(reply) = requests.recv() => Some(reply),
                Some(()) = hangups.recv() => None,
                else => return,
            };
            let result = self.reload().await;
            log_result(&result);
            if let Some(reply) = reply {
                // The operator may have gone.
                let _ = reply.send(result);
            }
        }
    }

    async fn reload(&self) -> Result<ReloadReport, Faults> {
        let env = |name: &str| std::env::var(name).ok();
        let mut checked = load::check_file(&self.file)?;
        // Also the secrets of settings that need a restart: the restart must not fail.
        if let Err(faults) = secrets::fetch(&checked.config, &env) {
            checked.add_faults(faults);
        }
        let file = checked.finish()?;
        let before = self.live.app();
        let plan = before.config.settings.plan_reload(&file.config.settings);
        let mut config = load::from_settings(plan.settings)?.config;
        // An argument of the command may have replaced it.
        config.listen = before.config.listen;
        let secrets = secrets::fetch(&config, &env)?;
        // As the file was, without what an argument has replaced.
        let previous = load::from_settings(before.config.settings.clone())?;
        let render = self.rendered(&previous.config) != self.rendered(&file.config);
        let fault = |path: &str, message: String| Faults(vec![Fault::new(path, message)]);
        let level = config.log.level.clone();
        let app = build::rebuild(&before, config, secrets, &plan.applied).await;
        let app = app.map_err(|error| fault("", error.to_string()))?;
        let set = self.log.set(&level);
        set.map_err(|error| fault("log.level", error.to_string()))?;
        self.live.replace(Arc::new(app));
        Ok(ReloadReport {
            applied: plan.applied,
            restart: plan.restart,
            render,
            warnings: file.warnings,
        })
    }

    /// The files of Envoy for a configuration; `None` if it has none.
    fn rendered(&self, config: &Config) -> Option<Vec<String>> {
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        let source = Source {
            name: &name.to_string_lossy(),
            text: "",
        };
        let read = |path: &Path| std::fs::read_to_string(path);
        let files = render::render(Target::Envoy, config, source, &read).ok()?;
        Some(files.into_iter().map(|file| file.text).collect())
    }
}

fn log_result(result: &Result<ReloadReport, Faults>) {
    let report = match result {
        Ok(report) => report,
        Err(faults) => {
            tracing::warn!(%faults, "the configuration file has faults: the previous one stays in force");
            return;
        }
    };
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let (applied, restart) = (report.applied.join(","), report.restart.join(","));
    tracing::info!(applied, "the configuration is reloaded");
    if !restart.is_empty() {
        tracing::warn!(restart, "changed settings need a restart of the service");
    }
    if report.render {
        tracing::warn!("the files of the edge must be rendered again");
    }
}
