//! Runs the service that was built, and lets it end in order.

use crate::config::Config;
use crate::http;
use crate::http::server;
use crate::http::state::App;
use futures_util::FutureExt;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Where the service listens.
pub struct Listeners {
    pub main: TcpListener,
    /// As Mira.
    pub mira: Option<TcpListener>,
    /// As the older session service.
    pub session_service: Option<TcpListener>,
}

impl Listeners {
    /// All that the configuration wants.
    ///
    /// # Errors
    /// Which address is not to be had, and why.
    pub async fn bind(config: &Config) -> Result<Self, String> {
        let compat = &config.compat;
        Ok(Self {
            main: bind(config.listen).await?,
            mira: bind_if(compat.mira.listen).await?,
            session_service: bind_if(compat.session_service.listen).await?,
        })
    }
}

impl From<TcpListener> for Listeners {
    fn from(main: TcpListener) -> Self {
        Self {
            main,
            mira: None,
            session_service: None,
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|e| format!("cannot listen on {address}: {e}"))
}

async fn bind_if(address: Option<SocketAddr>) -> Result<Option<TcpListener>, String> {
    match address {
        Some(address) => bind(address).await.map(Some),
        None => Ok(None),
    }
}

/// Serves until `stop` resolves; then lets requests in flight finish, for `shutdown_grace` at most.
pub async fn run(
    app: App,
    listeners: impl Into<Listeners>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let listeners = listeners.into();
    let grace = app.config.shutdown_grace;
    let connections = app.connections.clone();
    let ending = app.clone();
    let last = app.clone();
    let stop = async move {
        stop.await;
        ending.events.end();
        ending.gateways.end();
    };
    let stop = stop.shared();
    let serve = |listener: Option<TcpListener>, router| {
        let (stop, connections) = (stop.clone(), connections.clone());
        async move {
            match listener {
                Some(listener) => server::serve(listener, router, connections, stop, grace).await,
                None => Ok(()),
            }
        }
    };
    tokio::try_join!(
        serve(Some(listeners.main), http::router(app.clone())),
        serve(listeners.mira, http::mira_router(app.clone())),
        serve(listeners.session_service, http::session_service_router(app)),
    )?;
    last.sweep.stop();
    last.webhooks.end().await;
    last.sessions.flush().await;
    Ok(())
}
