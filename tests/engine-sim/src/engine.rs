//! One running engine: binds its two listeners, holds what its tasks share, and ends them all.

use crate::{
    accept, admin, clock,
    documents::Documents,
    faults::FaultSwitch,
    options::Options,
    sessions::{SessionView, Sessions},
    stats::{RequestCounter, Stats},
    token::TokenVerifier,
    upgrades::{UpgradeLog, Upgrades},
};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

/// The state that all connections of one engine share.
pub(crate) struct SharedState {
    pub(crate) options: Options,
    pub(crate) started: u64,
    pub(crate) faults: FaultSwitch,
    pub(crate) tokens: TokenVerifier,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) documents: Documents,
    pub(crate) upgrades: UpgradeLog,
    pub(crate) requests: RequestCounter,
    /// Health checks answered since the start.
    pub(crate) healthchecks: AtomicU64,
    /// Becomes true once, when all tasks must end.
    pub(crate) cut: watch::Sender<bool>,
}

impl SharedState {
    pub(crate) fn stats(&self) -> Stats {
        Stats::from_shared(self)
    }

    /// Runs `task` until it is done or the engine is cut off.
    pub(crate) async fn run_until_cut(&self, task: impl Future<Output = ()>) {
        let mut cut = self.cut.subscribe();
        tokio::select! {
            () = task => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
    }
}

/// A running engine. Dropping it ends all its connections, as [`Engine::stop`] does.
pub struct Engine {
    shared: Arc<SharedState>,
    api: SocketAddr,
    metrics: SocketAddr,
    /// Closed when the last task of the engine has ended.
    running: mpsc::Receiver<()>,
}

/// Starts an engine in the current runtime.
///
/// # Errors
/// When an address cannot be bound.
pub async fn start(options: Options) -> io::Result<Engine> {
    let api_listener = accept::listen(options.api)?;
    let metrics_listener = TcpListener::bind(options.metrics).await?;
    let (api, metrics) = (api_listener.local_addr()?, metrics_listener.local_addr()?);
    let shared = Arc::new(SharedState {
        started: clock::unix_now(),
        faults: FaultSwitch::new(options.faults.clone()),
        tokens: TokenVerifier::new(options.jwt_secret.as_deref()),
        sessions: Arc::new(Sessions::new(options.max_session_ttl)),
        documents: Documents::new(&options.documents, options.load_time()),
        upgrades: UpgradeLog::new(options.keep_upgrades),
        requests: RequestCounter::default(),
        healthchecks: AtomicU64::new(0),
        cut: watch::Sender::new(false),
        options,
    });
    let (alive_guard, running) = mpsc::channel(1);
    let task = accept::accept(api, api_listener, Arc::clone(&shared), alive_guard.clone());
    spawn(&shared, &alive_guard, task);
    let task = admin::serve(metrics_listener, Arc::clone(&shared));
    spawn(&shared, &alive_guard, task);
    spawn(&shared, &alive_guard, die_on_fault(Arc::clone(&shared)));
    Ok(Engine {
        shared,
        api,
        metrics,
        running,
    })
}

fn spawn(
    shared: &Arc<SharedState>,
    alive_guard: &mpsc::Sender<()>,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let (shared, alive_guard) = (Arc::clone(shared), alive_guard.clone());
    tokio::spawn(async move {
        shared.run_until_cut(task).await;
        drop(alive_guard);
    });
}

async fn die_on_fault(shared: Arc<SharedState>) {
    shared.faults.wait_while(|faults| !faults.die).await;
    shared.cut.send_replace(true);
}

impl Engine {
    /// The address of WebSockets and health checks.
    #[must_use]
    pub const fn api_addr(&self) -> SocketAddr {
        self.api
    }

    /// The address of metrics and the admin interface.
    #[must_use]
    pub const fn metrics_addr(&self) -> SocketAddr {
        self.metrics
    }

    /// The switch of the engine's faults.
    #[must_use]
    pub fn faults(&self) -> &FaultSwitch {
        &self.shared.faults
    }

    /// The current statistics of the engine.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The live sessions, including those that wait for a socket.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionView> {
        self.shared.sessions.list()
    }

    /// The latest upgrade requests, oldest first.
    #[must_use]
    pub fn upgrades(&self) -> Upgrades {
        self.shared.upgrades.latest()
    }

    /// Resolves when the engine has died of [`crate::Faults::die`]. Cancel safe.
    pub async fn wait_until_dead(&mut self) {
        // Nothing is ever sent. The channel closes when the last task ends.
        let _ = self.running.recv().await;
    }

    /// Ends the engine: closes both listeners and every socket, and waits until that is done.
    pub async fn stop(mut self) {
        self.shared.cut.send_replace(true);
        self.wait_until_dead().await;
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.cut.send_replace(true);
    }
}
