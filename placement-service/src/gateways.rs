//! The service's side of open streams: accepts the reports of gateways, answers their polls with events to act on, and
//! knows which streams are open where. Knows nothing of HTTP.

mod activity;
mod lookout;
mod metrics;
mod outbox;
mod place;
mod registry;
mod report;

use crate::core::clock::Clock;
use crate::events::follower::{Ends, Feed};
use crate::sessions::Sessions;
use activity::Unwritten;
use berth_api::{CloseReason, GatewayAnswer, GatewayEvent, GatewayReport};
use berth_scheduler::accounting::Tallies;
use berth_store::EndCause;
use berth_store::{Cursor, LogId};
use metrics::{GatewayCollector, GatewayMetrics};
use outbox::Outbox;
pub use place::Place;
use rand::RngExt;
pub use registry::GatewayView;
use registry::{Full, Outcome, Registry, Turn};
pub use report::checked;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Maximum number of events of each kind in one answer.
const MAX_EVENTS: usize = 5_000;
/// How long a report waits for the one before it, which may arrive later over another connection.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a report is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    #[error("there are too many gateways")]
    TooManyGateways,
    #[error("there are too many streams")]
    TooManyStreams,
    /// The event log is unavailable: this process would not notice that a session ends.
    #[error("the event log does not answer")]
    Deaf,
}

/// The gateways, their streams, and the events for them.
pub struct Gateways {
    shared: Arc<Shared>,
    watching: AbortHandle,
}

struct Shared {
    registry: Mutex<Registry>,
    outbox: Outbox,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    metrics: GatewayMetrics,
    unwritten: Unwritten,
    log: LogId,
    ends: Arc<Ends>,
    newest: watch::Receiver<u64>,
    deaf: watch::Receiver<bool>,
    ending: watch::Sender<bool>,
    /// Notified when a report has been applied.
    taken: Notify,
    /// Notified when the status of sessions must be checked.
    look: Notify,
}

/// The dependencies on the rest of the service.
pub struct Parts<'a> {
    pub sessions: Arc<Sessions>,
    pub tallies: Tallies,
    pub clock: Arc<dyn Clock>,
    pub feed: &'a Feed,
    /// The id of the event log.
    pub log: LogId,
}

impl Gateways {
    /// Starts without gateways, and starts the task that monitors the sessions of their streams.
    #[must_use]
    pub fn start(parts: Parts<'_>, metrics: &mut prometheus_client::registry::Registry) -> Self {
        let shared = Arc::new(Shared {
            registry: Mutex::new(Registry::new(parts.tallies)),
            outbox: Outbox::new(LogId(rand::rng().random())),
            sessions: parts.sessions,
            clock: parts.clock,
            metrics: GatewayMetrics::register(metrics),
            unwritten: Unwritten::default(),
            log: parts.log,
            ends: parts.feed.ends(),
            newest: parts.feed.newest(),
            deaf: parts.feed.deaf(),
            ending: watch::Sender::new(false),
            taken: Notify::new(),
            look: Notify::new(),
        });
        metrics.register_collector(Box::new(GatewayCollector(shared.clone())));
        let watching = tokio::spawn(lookout::watch(shared.clone())).abort_handle();
        Self { shared, watching }
    }

    /// Applies a report that passed [`checked`], and answers it. With a `place` it is a poll, which waits for events.
    ///
    /// # Errors
    /// When there are too many gateways or streams, or the event log is unavailable.
    pub async fn report(
        &self,
        gateway: &str,
        report: GatewayReport,
        place: Option<Place>,
    ) -> Result<GatewayAnswer, GatewayError> {
        let shared = &self.shared;
        let outcome = shared.take(gateway, &report).await?;
        shared.were_active(&report.active).await;
        if outcome.look {
            shared.look.notify_one();
        }
        match place {
            None => Ok(GatewayAnswer {
                resync: outcome.resync,
                ..GatewayAnswer::default()
            }),
            Some(place) => {
                let hold = Duration::from_millis(report.hold_ms.into());
                // Freed before the wait, since as many polls may wait as there are requests.
                drop(report);
                shared.poll(gateway, place, hold).await
            }
        }
    }

    /// Sends an event to every gateway, including those that poll within the next minute.
    pub fn send(&self, event: GatewayEvent) {
        let now_ms = self.shared.clock.now_ms();
        self.shared.outbox.push(None, event, now_ms);
    }

    /// The gateways that report to this process.
    #[must_use]
    pub fn gateways(&self) -> Vec<GatewayView> {
        self.shared.registry().gateways(Instant::now())
    }

    /// Becomes true when the service shuts down.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.shared.ending.subscribe()
    }

    /// Shuts down: from now on polls are answered immediately.
    pub fn end(&self) {
        self.shared.ending.send_replace(true);
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a report when all reports before it have been applied, or after waiting for them for `PATIENCE`.
    async fn take(&self, gateway: &str, report: &GatewayReport) -> Result<Outcome, GatewayError> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let taken = self.taken.notified();
            tokio::pin!(taken);
            taken.as_mut().enable();
            if self.registry().turn(gateway, report.sequence) != Turn::Early
                || timeout_at(patience, taken).await.is_err()
            {
                break;
            }
        }
        let (now_ms, now) = (self.clock.now_ms(), Instant::now());
        let outcome = self.registry().take(gateway, report, now_ms, now);
        self.taken.notify_waiters();
        let outcome = outcome.map_err(|full| match full {
            Full::Gateways => GatewayError::TooManyGateways,
            Full::Streams => GatewayError::TooManyStreams,
        })?;
        for reason in &outcome.closed {
            self.metrics.closed(*reason);
        }
        self.metrics.lost(outcome.lost);
        if outcome.resync_is_news {
            self.metrics.resync();
            tracing::info!(
                gateway,
                sequence = report.sequence,
                "full list of streams requested"
            );
        }
        Ok(outcome)
    }

    async fn poll(
        &self,
        gateway: &str,
        place: Place,
        hold: Duration,
    ) -> Result<GatewayAnswer, GatewayError> {
        let until = Instant::now() + hold;
        let (mut newest, mut letters) = (self.newest.clone(), self.outbox.newest());
        let (mut deaf, mut ending) = (self.deaf.clone(), self.ending.subscribe());
        loop {
            // Before the check, so that every later change wakes the loop.
            newest.mark_unchanged();
            letters.mark_unchanged();
            if *deaf.borrow_and_update() {
                return Err(GatewayError::Deaf);
            }
            let answer = self.news(gateway, place);
            let waits = !answer.resync && answer.events.is_empty() && place != Place::Now;
            if !waits || *ending.borrow_and_update() {
                return Ok(answer);
            }
            tokio::select! {
                Ok(()) = newest.changed() => {}
                Ok(()) = letters.changed() => {}
                Ok(()) = deaf.changed() => {}
                Ok(()) = ending.changed() => {}
                () = tokio::time::sleep_until(until) => return Ok(answer),
            }
        }
    }

    /// The events that a gateway has not received yet.
    fn news(&self, gateway: &str, place: Place) -> GatewayAnswer {
        let (log, letter) = match place {
            Place::Now => (None, None),
            Place::At { log, outbox } => (Some(log), outbox),
        };
        let mut events = Vec::new();
        // Not the end of the log: entries that this process has not read yet are sent later.
        let mut sequence = self.ends.newest();
        let mut resync = self.registry().wants_list(gateway);
        if let Some(log) = log {
            let of_this_log = Some(log).filter(|log| log.log == self.log);
            match of_this_log.and_then(|log| self.ends.after(log.sequence, MAX_EVENTS)) {
                Some(news) => {
                    sequence = news.sequence;
                    events.extend(news.ended.iter().map(|ended| GatewayEvent::SessionEnded {
                        session_ref: ended.session_ref.to_string(),
                        reason: reason(ended.cause),
                    }));
                }
                None => resync = true,
            }
        }
        let now_ms = self.clock.now_ms();
        let letters = self.outbox.after(letter, gateway, MAX_EVENTS, now_ms);
        events.extend(letters.events);
        let place = Place::At {
            log: Cursor {
                log: self.log,
                sequence,
            },
            outbox: Some(letters.next),
        };
        GatewayAnswer {
            cursor: Some(place.to_string()),
            events,
            resync: resync || letters.lost,
        }
    }
}

/// How the streams of a session close, by the session's end cause.
const fn reason(cause: EndCause) -> CloseReason {
    match cause {
        EndCause::IdleTimeout | EndCause::AbsoluteTimeout => CloseReason::Expired,
        // A browser that logs in again in one tab continues in its other tabs with the new session. Streams that are
        // closed as revoked stay closed; streams that are closed as expired reconnect after a login.
        EndCause::LoginAgain => CloseReason::Expired,
        _ => CloseReason::Revoked,
    }
}
