//! Serves a built service on its listeners until it is stopped, then stops its parts in order.

use super::live::{Listener, LiveApp};
use crate::config::Config;
use crate::http::server;
use futures_util::FutureExt;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// The sockets that the service listens on.
pub struct Listeners {
    pub main: TcpListener,
    /// `compat.mira`: engine discovery in the format of Mira.
    pub mira: Option<TcpListener>,
    /// `compat.session_service`: the API of the older session service.
    pub session_service: Option<TcpListener>,
}

impl Listeners {
    /// Binds every configured address.
    ///
    /// # Errors
    /// The address that cannot be bound, and the cause.
    pub async fn bind(config: &Config) -> Result<Self, String> {
        let compat = &config.compat;
        Ok(Self {
            main: bind(config.listen).await?,
            mira: bind_optional(compat.mira.listen).await?,
            session_service: bind_optional(compat.session_service.listen).await?,
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

async fn bind_optional(address: Option<SocketAddr>) -> Result<Option<TcpListener>, String> {
    match address {
        Some(address) => bind(address).await.map(Some),
        None => Ok(None),
    }
}

/// Serves until `stop` resolves; then requests in flight have at most `shutdown_grace` to finish.
pub async fn run(
    app: impl Into<LiveApp>,
    listeners: impl Into<Listeners>,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let (live, listeners) = (app.into(), listeners.into());
    let app = live.app();
    let grace = app.config.shutdown_grace;
    let connections = app.connections.clone();
    let ending = app.clone();
    let stop = async move {
        stop.await;
        // Long polls and call streams end now, so that they do not use up the grace period.
        ending.events.shut_down();
        ending.gateways.shut_down();
    };
    let stop = stop.shared();
    let serve = |listener: Option<TcpListener>, tls, router| {
        let (stop, connections) = (stop.clone(), connections.clone());
        async move {
            match listener {
                Some(listener) => {
                    server::serve(listener, tls, router, connections, stop, grace).await
                }
                None => Ok(()),
            }
        }
    };
    tokio::try_join!(
        serve(
            Some(listeners.main),
            app.tls.clone(),
            live.router(Listener::Main)
        ),
        serve(listeners.mira, None, live.router(Listener::Mira)),
        serve(
            listeners.session_service,
            None,
            live.router(Listener::SessionService)
        ),
    )?;
    let last = live.app();
    last.handover.hand_over().await;
    // Sessions come last: `flush` writes the activity that the last requests recorded.
    last.cleanup.stop().await;
    last.webhooks.stop().await;
    last.placement.flush_keys().await;
    last.sessions.flush().await;
    Ok(())
}
