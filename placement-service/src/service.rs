//! Puts the service together and runs it: store, sessions, fleet, HTTP; and lets it end in order.

use crate::accounts::Accounts;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::secrets::Secrets;
use crate::http::{self, App, AppState, LoginCookie, Pages};
use crate::login::Login;
use crate::metrics::Metrics;
use crate::password::PasswordError;
use crate::placer::Placer;
use crate::sessions::Sessions;
use crate::store::{self, StoreError};
use crate::tokens::Tokens;
use axum::serve::ListenerExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Why the service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    #[error("the fleet cannot be watched: {0}")]
    Fleet(#[from] reqwest::Error),
    #[error("cannot listen: {0}")]
    Listen(#[from] std::io::Error),
}

/// Builds the service; its background tasks run from here on.
pub async fn build(
    config: Config,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
) -> Result<App, ServiceError> {
    let stores = store::open(&config.store).await?;
    let mut registry = Metrics::registry();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let sessions = Sessions::start(stores.sessions, clock.clone(), &config.session).await?;
    let sessions = Arc::new(sessions);
    let tokens = Tokens::new(clock.clone(), secrets.signing_key, &config.tokens);
    let tokens = Arc::new(tokens);
    let accounts = Accounts::new(stores.accounts, clock.clone())?;
    let placer = Placer::start(&config, clock, &mut registry)?;
    Ok(Arc::new(AppState {
        login: Login::new(accounts, sessions.clone(), tokens.clone(), metrics.clone()),
        cookie: LoginCookie::new(&config.session.cookie),
        pages: Pages::new(),
        gateway_secret: secrets.gateway,
        config,
        sessions,
        tokens,
        placer,
        metrics,
        registry,
    }))
}

/// Serves until `stop` resolves; then lets requests in flight finish, for `shutdown_grace` at most.
pub async fn run(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServiceError> {
    let grace = app.config.shutdown_grace;
    let sessions = app.sessions.clone();
    let listener = listener.tap_io(|stream| {
        // Answers are small and awaited: waiting to fill a packet would only add delay.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    let (stopping, mut stopped) = tokio::sync::watch::channel(false);
    let serve = axum::serve(listener, http::router(app)).with_graceful_shutdown(async move {
        stop.await;
        stopping.send_replace(true);
    });
    let overtime = async {
        // An error means that the server is gone, which ends this wait as well.
        let _ = stopped.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(grace.max(Duration::from_millis(1))).await;
    };
    tokio::select! {
        served = serve => served?,
        () = overtime => tracing::warn!("requests in flight were cut off"),
    }
    sessions.flush().await;
    Ok(())
}
