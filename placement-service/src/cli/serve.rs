//! `berth serve`: runs the service until SIGTERM or Ctrl-C.

use super::{ConfigFile, Failure, print};
use berth_placement::clock::SystemClock;
use berth_placement::config::secrets;
use berth_placement::{service, telemetry};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Returns when the service has ended in order.
pub(super) async fn run(file: &ConfigFile, listen: Option<SocketAddr>) -> Result<(), Failure> {
    let loaded = file.load()?;
    let mut config = loaded.config;
    telemetry::start(&config.log)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(listen) = listen {
        config.listen = listen;
    }
    let secrets = secrets::fetch(&config, &|name| std::env::var(name).ok())
        .map_err(|faults| Failure::faults(file.named(), &faults))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let address = config.listen;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|e| Failure(format!("cannot listen on {address}: {e}")))?;
    let address = listener.local_addr()?;
    let app = service::build(config, secrets, Arc::new(SystemClock)).await?;
    print(&format!("listening http={address}"))?;
    tracing::info!(%address, "listening");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            // An error means that there is no Ctrl-C to wait for.
            interrupted = tokio::signal::ctrl_c() => {
                if interrupted.is_err() {
                    terminate.recv().await;
                }
            }
        }
        tracing::info!("ending");
    };
    service::run(app, listener, stop).await?;
    tracing::info!("ended");
    Ok(())
}
