//! `berth serve`: runs the service until SIGTERM or Ctrl-C, and reads its configuration again on SIGHUP.

use super::{ConfigFile, Failure, print};
use berth_placement::app::reload::Reloader;
use berth_placement::app::telemetry;
use berth_placement::app::{self, secrets};
use berth_placement::app::{Listeners, LiveApp};
use berth_placement::core::clock::SystemClock;
use berth_placement::core::open_files;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Returns after an orderly shutdown.
pub(super) async fn run(file: &ConfigFile, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let loaded = file.load()?;
    let mut config = loaded.config;
    let log = telemetry::start(&config.log)?;
    // From now on the signal does not end the process.
    let hangups = signal(SignalKind::hangup())?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    open_files::raise_limit();
    if let Some(listen) = listen {
        config.listen = listen;
    }
    let secrets = secrets::fetch(&config, &|name| std::env::var(name).ok())
        .map_err(|faults| file.failure(&faults))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let listeners = Listeners::bind(&config).await.map_err(Failure)?;
    let address = listeners.main.local_addr()?;
    let mut line = format!("listening http={address}");
    for (name, listener) in [
        ("mira", &listeners.mira),
        ("session-service", &listeners.session_service),
    ] {
        if let Some(listener) = listener {
            line += &format!(" {name}={}", listener.local_addr()?);
        }
    }
    let app = app::build(config, secrets, Arc::new(SystemClock)).await?;
    let live = LiveApp::from(app);
    if let Some(file) = file.path()
        && let Some(requests) = live.app().reloads.take()
    {
        let reloader = Reloader::new(file.to_owned(), live.clone(), log);
        tokio::spawn(reloader.run(requests, hangups));
    }
    print(&line)?;
    tracing::info!(%address, "listening");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            // If Ctrl-C cannot be handled, only SIGTERM stops the service.
            interrupted = tokio::signal::ctrl_c() => {
                if interrupted.is_err() {
                    terminate.recv().await;
                }
            }
        }
        tracing::info!("shutting down");
    };
    app::run(live, listeners, stop).await?;
    tracing::info!("stopped");
    Ok(())
}
