//! Ends engine sessions on their engines: when their login session ends, or when their client has left for good. Tries
//! again while the engine cannot be reached, until the engine has ended the session by itself. Knows no engine protocol.

use super::PlacementService;
use super::metrics::PlacementMetrics;
use super::prepared_session::PreparedSession;
use crate::core::backoff::{ExponentialBackoff, FULL_JITTER};
use crate::engines::drivers::open_target::OpenTarget;
use crate::engines::drivers::{DriverFault, EngineDriver, PrepareRequest};
use crate::sessions::LiveSession;
use berth_scheduler::accounting::EngineSessionStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{debug, warn};

/// Issues a token by which an engine session of this login session can be ended, although the login session has ended
/// too. `None`: it cannot be signed.
pub type IssueToken = Box<dyn Fn(&LiveSession) -> Option<String> + Send + Sync>;

/// Maximum number of engine sessions that wait to be ended. A further one ends by itself.
const MAX_QUEUED: usize = 20_000;
/// Maximum number of attempts at the same time.
const MAX_ATTEMPTS: usize = 64;
/// The delay between two attempts.
const BACKOFF: ExponentialBackoff = ExponentialBackoff {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(5),
};
/// By then gateways have closed the streams of an ended login session.
const STREAMS_CLOSED: Duration = Duration::from_secs(2);

/// The engine sessions that are being ended.
pub(super) struct SessionEnds {
    issue_token: Arc<IssueToken>,
    queue: Arc<Semaphore>,
    attempts: Arc<Semaphore>,
}

impl SessionEnds {
    pub(super) fn new(issue_token: IssueToken) -> Self {
        Self {
            issue_token: Arc::new(issue_token),
            queue: Arc::new(Semaphore::new(MAX_QUEUED)),
            attempts: Arc::new(Semaphore::new(MAX_ATTEMPTS)),
        }
    }
}

/// One engine session to end.
struct EndTask {
    session: Arc<PreparedSession>,
    pool: Arc<str>,
    driver: Arc<dyn EngineDriver>,
    issue_token: Arc<IssueToken>,
    attempts: Arc<Semaphore>,
    metrics: PlacementMetrics,
    engine_timeout: Duration,
    give_up_at: Instant,
}

impl PlacementService {
    /// A login session has ended: its engine sessions end.
    pub fn end_login(&self, session_ref: &str) {
        for session in self.engine_sessions.take_login(session_ref) {
            self.end_engine_session(session);
        }
    }

    /// A stream has closed. `left`: its client has left for good, so that its engine session ends, unless another stream
    /// is in it or the pool keeps it.
    pub fn stream_closed(&self, stream: &str, left: bool) {
        let Some(session) = self.engine_sessions.take_stream(stream) else {
            return;
        };
        let pool = self.pools.get(session.pool);
        if !left || !pool.is_some_and(|pool| pool.end_on_close) {
            return;
        }
        if session.status(Instant::now()) == EngineSessionStatus::InUse {
            return;
        }
        let Some((key, lock)) = session.affinity.clone() else {
            self.end_engine_session(session);
            return;
        };
        // A socket that returns at this moment holds the lock, or finds no session after it.
        let Ok(mut entry) = lock.try_lock() else {
            return;
        };
        if session.status(Instant::now()) == EngineSessionStatus::InUse {
            return;
        }
        if entry
            .as_ref()
            .is_some_and(|entry| session.is_counted_as(&entry.session))
        {
            *entry = None;
            self.affinity.remove(key);
        }
        drop(entry);
        self.end_engine_session(session);
    }

    /// The login sessions that may have expired by now, among those that have engine sessions.
    #[must_use]
    pub fn due_logins(&self) -> Vec<String> {
        let now_s = self.clock.now_s();
        self.engine_sessions.take_due(now_s, Instant::now())
    }

    /// The login session has not ended, and is checked again at that time, in Unix seconds.
    pub fn check_login_at(&self, session_ref: &str, at_s: u64) {
        self.engine_sessions.schedule_check(session_ref, at_s);
    }

    /// All login sessions that have engine sessions.
    #[must_use]
    pub fn logins_with_engine_sessions(&self) -> Vec<String> {
        self.engine_sessions.logins()
    }

    fn end_engine_session(&self, session: Arc<PreparedSession>) {
        let Some(pool) = self.pools.get(session.pool) else {
            return;
        };
        let now = Instant::now();
        let give_up_at = match session.status(now) {
            EngineSessionStatus::Ended => return,
            EngineSessionStatus::Lingering { until } => until,
            EngineSessionStatus::InUse => now + STREAMS_CLOSED + pool.engine_session_ttl,
        };
        let ends = &self.session_ends;
        let Ok(place) = Arc::clone(&ends.queue).try_acquire_owned() else {
            self.metrics.record_session_end(&pool.name, "dropped");
            return;
        };
        let task = EndTask {
            session,
            pool: Arc::clone(&pool.name),
            driver: Arc::clone(&pool.driver),
            issue_token: Arc::clone(&ends.issue_token),
            attempts: Arc::clone(&ends.attempts),
            metrics: self.metrics.clone(),
            engine_timeout: self.limits.engine_timeout,
            give_up_at,
        };
        tokio::spawn(async move {
            let outcome = task.run().await;
            task.metrics.record_session_end(&task.pool, outcome);
            drop(place);
        });
    }
}

impl EndTask {
    /// Tries until the session has ended. Returns the outcome for metrics.
    async fn run(&self) -> &'static str {
        let engine = self.session.engine.as_str();
        let (pool, session) = (&*self.pool, &self.session.login.session_ref);
        let mut failures = 0;
        loop {
            let fault = match self.attempt().await {
                Ok(()) => {
                    self.session.end(Instant::now());
                    debug!(pool, engine, session, "engine session ended");
                    return "ok";
                }
                Err(fault) => fault,
            };
            if !fault.blames_engine() {
                warn!(
                    pool,
                    engine, session, "the engine session cannot be ended: {fault}"
                );
                return "refused";
            }
            failures += 1;
            let delay = BACKOFF.jittered_delay(failures, FULL_JITTER, &mut rand::rng());
            if Instant::now() + delay >= self.give_up_at {
                warn!(
                    pool,
                    engine, session, "the engine session was not ended in its lifetime: {fault}"
                );
                return "given-up";
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self) -> Result<(), DriverFault> {
        let closed = |_| DriverFault::NoResponse;
        let _permit = self.attempts.acquire().await.map_err(closed)?;
        let Some(token) = (self.issue_token)(&self.session.login) else {
            return Err(DriverFault::TokenRejected("no token is signed".to_owned()));
        };
        let deadline = Instant::now() + self.engine_timeout;
        let request = PrepareRequest {
            engine: self.session.address,
            token: &token,
            path: "/",
            target: &OpenTarget::Nothing,
            first_response_by: deadline,
            deadline,
            connect_permit: None,
            dry_run: false,
        };
        self.driver.end(request, &self.session.headers).await
    }
}
