//! Builds the service in the order of its dependencies: store, sessions, events, login, placement, gateways. Knows no
//! listener and serves nothing; `run` does.

use super::secrets::Secrets;
use super::stores;
use crate::config::Config;
use crate::config::fault::Fault;
use crate::core::clock::Clock;
use crate::core::metrics::Metrics;
use crate::core::tls::PemFault;
use crate::engines::drains::{Drains, SendEvent};
use crate::engines::ledger::Ledger;
use crate::events::follower::EventLogFollower;
use crate::events::log::EventLogReader;
use crate::events::security_events::SecurityEvents;
use crate::events::webhooks::{self, Webhooks, WebhooksError};
use crate::gateways::{self, GatewayDrains, Gateways, StreamDirectory};
use crate::http::compat::session_service;
use crate::http::problem::HttpProblem;
use crate::http::server::{Connections, ServerTls};
use crate::http::state::{App, AppState};
use crate::http::{Clients, DeviceCookie, LoginCookie, Pages};
use crate::login::Login;
use crate::login::accounts::Accounts;
use crate::login::credentials::Credentials;
use crate::login::devices::DeviceKey;
use crate::login::oidc::{Oidc, OidcError};
use crate::login::password::{PasswordError, Passwords};
use crate::login::rate_limit::LoginRateLimiter;
use crate::placement::keys::KeyDirectory;
use crate::placement::{Handover, IssueToken, PlacementService};
use crate::sessions::tokens::Tokens;
use crate::sessions::{CleanupTasks, Sessions, StoreHeartbeat};
use berth_store::StoreError;
use std::sync::Arc;

/// Why the service failed to start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    OpenStore(#[from] Fault),
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    #[error(transparent)]
    Webhooks(#[from] WebhooksError),
    #[error("tls.{0}")]
    Tls(#[from] PemFault),
    #[error("cannot create an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    #[error("cannot use the OpenID providers: {0}")]
    Oidc(#[from] OidcError),
}

/// Builds the service and starts its background tasks.
///
/// The order matters. Everything needs the store; the event-log follower needs the sessions that it invalidates; the
/// event log and webhooks start at the follower's newest event; gateways need the accounting of the engines; drains
/// send their events through the gateways.
pub async fn build(
    config: Config,
    secrets: Secrets,
    clock: Arc<dyn Clock>,
) -> Result<App, ServiceError> {
    let stores = stores::open(&config, secrets.store).await?;
    let mut registry = Metrics::registry();
    let metrics = Arc::new(Metrics::register(&mut registry));
    metrics.start_rejections(HttpProblem::reasons());
    let http = &config.http;
    let max_connections = usize::try_from(http.max_connections).unwrap_or(usize::MAX);
    let connections = Connections::new(max_connections, http.request_timeout, &mut registry);
    let heartbeat = StoreHeartbeat::start(&stores, &mut registry);
    let sessions = Sessions::start(
        stores.clone(),
        clock.clone(),
        metrics.clone(),
        &config.session,
    );
    let sessions = Arc::new(sessions.await?);
    let tokens = Tokens::new(clock.clone(), secrets.signing_key, &config.tokens);
    let tokens = Arc::new(tokens.with_other_keys(secrets.published_keys));
    let log = stores.events.clone();
    let event_log =
        EventLogFollower::start(sessions.clone(), tokens.clone(), log, config.events.poll).await?;
    let events = EventLogReader::open(&stores, sessions.clone(), event_log.newest()).await?;
    let cleanup = CleanupTasks::start(&sessions, &config);
    let webhook_dependencies = webhooks::Dependencies {
        stores: stores.clone(),
        clock: clock.clone(),
        tokens: tokens.clone(),
        log: events.id(),
        newest: event_log.newest(),
        lease: config.events.lease,
    };
    let webhooks = Webhooks::start(
        &config.webhooks,
        secrets.webhooks,
        webhook_dependencies,
        &mut registry,
    )
    .await?;
    let security_events = config.security_events.as_ref().map(|config| {
        let (sessions, clock) = (sessions.clone(), clock.clone());
        let (keys, shared) = (secrets.transmitters, stores.coordination.clone());
        SecurityEvents::new(config, keys, sessions, shared, clock, &mut registry)
    });
    let security_events = security_events.transpose()?;
    let keys = KeyDirectory::open(&stores, &config, clock.clone(), sessions.log_appended());
    let keys = keys.await?;
    let accounts = stores
        .accounts
        .ok_or_else(|| StoreError::Data("keeps no accounts".to_owned()))?;
    let passwords = Passwords::new()?;
    let device_key = DeviceKey::load(stores.coordination.as_ref()).await?;
    let lockout = config.login.lockout;
    let own_accounts = Accounts::new(accounts.clone(), clock.clone(), passwords.clone());
    let credentials = Credentials::new(accounts, device_key, clock.clone(), passwords, lockout);
    let login_rate = LoginRateLimiter::new(config.login.rate, clock.clone());
    let callback_rate = LoginRateLimiter::new(config.login.rate, clock.clone());
    let oidc = Oidc::new(
        &config.oidc,
        &secrets.oidc,
        secrets.sealing,
        sessions.clone(),
        stores.coordination.clone(),
        clock.clone(),
    )?;
    let ledger = &config.placement.ledger;
    let ledger = Ledger::open(ledger, secrets.ledger.as_ref(), &*clock, &mut registry).await?;
    let transports = &secrets.engine_transports;
    let end_tokens = tokens.clone();
    let issue_token: IssueToken = Box::new(move |session| end_tokens.issue_to_end(session).ok());
    let placer = PlacementService::start(
        &config,
        transports,
        clock.clone(),
        &mut registry,
        ledger,
        keys,
        issue_token,
    )?;
    let tls = config.tls.as_ref().zip(secrets.tls);
    let tls = tls.map(|(settings, files)| ServerTls::start(settings, files));
    let gateway_dependencies = gateways::Dependencies {
        sessions: sessions.clone(),
        placement: placer.clone(),
        clock: clock.clone(),
        event_log: &event_log,
        log: events.id(),
    };
    let gateways = Arc::new(Gateways::start(gateway_dependencies, &mut registry));
    let event_gateways = gateways.clone();
    let send_event: SendEvent = Box::new(move |event| event_gateways.broadcast(event));
    let drain_durations = config
        .pools
        .iter()
        .map(|pool| (pool.name.clone(), pool.drain_duration));
    let drain_durations = drain_durations.collect();
    let (fleet, accounting_registry) = (placer.fleet().clone(), placer.accounting().clone());
    let drains = Drains::start(
        fleet,
        accounting_registry,
        stores.coordination.clone(),
        clock.clone(),
        drain_durations,
        placer.active_drains().clone(),
        send_event,
    )
    .await?;
    let handover = Handover::start(stores.coordination.clone(), placer.clone());
    let gateway_drains =
        GatewayDrains::start(&gateways, stores.coordination.clone(), clock.clone()).await?;
    let streams = StreamDirectory::start(&gateways, &gateway_drains, stores.coordination, clock);
    let login = Login::new(credentials, own_accounts, sessions.clone(), metrics.clone());
    let session_service_rules = session_service::jwt_rules(
        &config.compat.session_service,
        &config.session,
        secrets.session_service,
    );
    Ok(Arc::new(AppState {
        login: Arc::new(login),
        login_rate: Arc::new(login_rate),
        callback_rate: Arc::new(callback_rate),
        cookie: LoginCookie::new(&config.session.cookie),
        device_cookie: DeviceCookie::new(&config.session.cookie),
        oidc: Arc::new(oidc),
        pages: Arc::new(Pages::new(config.login.local, &config.oidc)),
        session_service_rules: session_service_rules.map(Arc::new),
        gateway_secret: secrets.gateway,
        clients: Arc::new(Clients::new(&secrets.clients)),
        reloads: Arc::default(),
        config: Arc::new(config),
        follower: Arc::new(event_log),
        events: Arc::new(events),
        cleanup: Arc::new(cleanup),
        heartbeat: Arc::new(heartbeat),
        webhooks: Arc::new(webhooks),
        security_events: security_events.map(Arc::new),
        sessions,
        tokens,
        placement: placer,
        handover: Arc::new(handover),
        drains: Arc::new(drains),
        gateways,
        gateway_drains: Arc::new(gateway_drains),
        streams: Arc::new(streams),
        connections,
        tls: tls.transpose()?,
        metrics,
        registry: Arc::new(registry),
    }))
}

/// Builds the state with changed settings: new parts for those in `changed`, the parts of `before` for everything else.
pub(super) async fn rebuild(
    before: &AppState,
    config: Config,
    secrets: Secrets,
    changed: &[String],
) -> Result<AppState, ServiceError> {
    let is_changed = |setting: &str| changed.iter().any(|path| path == setting);
    let oidc = before.oidc.with_providers(&config.oidc, &secrets.oidc)?;
    let (login_rate, callback_rate) = if is_changed("login.rate") {
        let clock = before.login.clock();
        let rate = || Arc::new(LoginRateLimiter::new(config.login.rate, clock.clone()));
        (rate(), rate())
    } else {
        (before.login_rate.clone(), before.callback_rate.clone())
    };
    let login = if is_changed("login.lockout") {
        Arc::new(before.login.with_lockout(config.login.lockout))
    } else {
        before.login.clone()
    };
    // Last, since these change what runs: deliveries, and placements.
    let webhooks = if is_changed("webhooks") {
        let webhooks = before.webhooks.restart(&config.webhooks, secrets.webhooks);
        Arc::new(webhooks.await?)
    } else {
        before.webhooks.clone()
    };
    if is_changed("routes") {
        before.placement.set_routes(&config);
    }
    Ok(AppState {
        oidc: Arc::new(oidc),
        login,
        login_rate,
        callback_rate,
        webhooks,
        pages: Arc::new(Pages::new(config.login.local, &config.oidc)),
        clients: Arc::new(Clients::new(&secrets.clients)),
        config: Arc::new(config),
        ..before.clone()
    })
}
