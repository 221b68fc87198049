//! `berth serve`: runs the service until SIGTERM or Ctrl-C.

use super::{ConfigFile, Failure, print};
use berth_placement::app::Listeners;
use berth_placement::app::telemetry;
use berth_placement::app::{self, secrets};
use berth_placement::core::clock::SystemClock;
use berth_placement::core::open_files;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Returns after an orderly shutdown.
pub(super) async fn run(file: &ConfigFile, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let loaded = file.load()?;
    let mut config = loaded.config;
    telemetry::start(&config.log)?;
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
    app::run(app, listeners, stop).await?;
    tracing::info!("stopped");
    Ok(())
}
