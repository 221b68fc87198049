//! Puts the service together and runs it: store, sessions, fleet, HTTP; and lets it end in order.

use crate::clock::Clock;
use crate::config::Config;
use crate::config::secrets::Secrets;
use crate::credentials::Credentials;
use crate::devices::DeviceKey;
use crate::drains::{Drains, Tell};
use crate::events::Events;
use crate::feed::Feed;
use crate::gateways::{self, Gateways};
use crate::http::compat::{mira, session_service};
use crate::http::{self, App, AppState, Clients, DeviceCookie, LoginCookie, Pages};
use crate::ledger::Ledger;
use crate::login::Login;
use crate::login_rate::LoginRate;
use crate::metrics::Metrics;
use crate::oidc::{Oidc, OidcError};
use crate::password::{PasswordError, Passwords};
use crate::placer::Placer;
use crate::security_events::SecurityEvents;
use crate::server::{self, Connections};
use crate::sessions::{Sessions, Sweep};
use crate::store::{self, StoreError};
use crate::tokens::Tokens;
use crate::webhooks::{self, Webhooks, WebhooksError};
use futures_util::FutureExt;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Why the service did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    #[error(transparent)]
    Webhooks(#[from] WebhooksError),
    #[error("no HTTP client can be made: {0}")]
    Client(#[from] reqwest::Error),
    #[error("the OpenID providers cannot be used: {0}")]
    Oidc(#[from] OidcError),
}

/// Builds the service; its background tasks run from here on.
pub async fn build(
    config: Config,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
) -> Result<App, ServiceError> {
    let stores = store::open(&config, secrets.store).await?;
    let mut registry = Metrics::registry();
    let metrics = Arc::new(Metrics::register(&mut registry));
    let http = &config.http;
    let most = usize::try_from(http.max_connections).unwrap_or(usize::MAX);
    let connections = Connections::new(most, http.request_timeout, &mut registry);
    let sessions = Sessions::start(
        stores.clone(),
        clock.clone(),
        metrics.clone(),
        &config.session,
    );
    let sessions = Arc::new(sessions.await?);
    let tokens = Tokens::new(clock.clone(), secrets.signing_key, &config.tokens);
    let tokens = Arc::new(tokens.with_further(secrets.further_keys));
    let log = stores.events.clone();
    let feed = Feed::start(sessions.clone(), tokens.clone(), log, config.events.poll).await?;
    let events = Events::open(&stores, sessions.clone(), feed.newest()).await?;
    let sweep = Sweep::start(&sessions, &config);
    let parts = webhooks::Parts {
        stores: stores.clone(),
        clock: clock.clone(),
        tokens: tokens.clone(),
        log: events.id(),
        newest: feed.newest(),
        lease: config.events.lease,
    };
    let secrets_of_hooks = secrets.webhooks;
    let webhooks = Webhooks::start(&config.webhooks, secrets_of_hooks, parts, &mut registry);
    let webhooks = webhooks.await?;
    let security_events = config.security_events.as_ref().map(|config| {
        let (sessions, clock) = (sessions.clone(), clock.clone());
        let (keys, shared) = (secrets.transmitters, stores.shared.clone());
        SecurityEvents::new(config, keys, sessions, shared, clock, &mut registry)
    });
    let security_events = security_events.transpose()?;
    let accounts = stores
        .accounts
        .ok_or_else(|| StoreError::Data("keeps no accounts".to_owned()))?;
    let passwords = Passwords::new()?;
    let device_key = DeviceKey::load(stores.shared.as_ref()).await?;
    let lock_out = config.login.lock_out;
    let credentials = Credentials::new(accounts, device_key, clock.clone(), passwords, lock_out);
    let login_rate = LoginRate::new(config.login.rate, clock.clone());
    let callback_rate = LoginRate::new(config.login.rate, clock.clone());
    let oidc = Oidc::new(
        &config.oidc,
        &secrets.oidc,
        secrets.sealing,
        sessions.clone(),
        stores.shared.clone(),
        clock.clone(),
    )?;
    let ledger = &config.placement.ledger;
    let ledger = Ledger::open(ledger, secrets.ledger.as_ref(), &*clock, &mut registry).await?;
    let placer = Placer::start(&config, clock.clone(), &mut registry, ledger)?;
    let parts = gateways::Parts {
        sessions: sessions.clone(),
        tallies: placer.tallies().clone(),
        clock: clock.clone(),
        feed: &feed,
        log: events.id(),
    };
    let gateways = Arc::new(Gateways::start(parts, &mut registry));
    let told = gateways.clone();
    let tell: Tell = Box::new(move |event| told.send(event));
    let over = config
        .pools
        .iter()
        .map(|pool| (pool.name.clone(), pool.drain_over));
    let over = over.collect();
    let (fleet, tallies) = (placer.fleet().clone(), placer.tallies().clone());
    let drains = Drains::start(fleet, tallies, stores.shared, clock, over, tell).await?;
    Ok(Arc::new(AppState {
        login: Login::new(credentials, sessions.clone(), metrics.clone()),
        login_rate,
        callback_rate,
        cookie: LoginCookie::new(&config.session.cookie),
        device_cookie: DeviceCookie::new(&config.session.cookie),
        oidc,
        pages: Pages::new(config.login.local, &config.oidc),
        session_service_rules: session_service::rules(
            &config.compat.session_service,
            &config.session,
            secrets.session_service,
        ),
        gateway_secret: secrets.gateway,
        clients: Clients::new(&secrets.clients),
        config,
        feed,
        events,
        sweep,
        webhooks,
        security_events,
        sessions,
        tokens,
        placer,
        drains,
        gateways,
        connections,
        metrics,
        registry,
    }))
}

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
