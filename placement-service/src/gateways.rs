//! The service's side of live streams: takes what gateways report, tells them what they have to act upon, and
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

/// Events in one answer at the most, of each kind.
const MAX_EVENTS: usize = 5_000;
/// How long a report waits for one before it, which another connection may have overtaken.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a report is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    #[error("there are too many gateways")]
    TooManyGateways,
    #[error("there are too many streams")]
    TooManyStreams,
    /// The event log does not answer: nobody here would hear of a session's end.
    #[error("the event log does not answer")]
    Deaf,
}

/// The gateways, their streams, and what they are told.
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
    /// Rings when a report was taken.
    taken: Notify,
    /// Rings when there are sessions to be looked at.
    look: Notify,
}

/// What the gateways need of the rest of the service.
pub struct Parts<'a> {
    pub sessions: Arc<Sessions>,
    pub tallies: Tallies,
    pub clock: Arc<dyn Clock>,
    pub feed: &'a Feed,
    /// The event log's name.
    pub log: LogId,
}

impl Gateways {
    /// Knows none yet; looks after the sessions of their streams from here on.
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

    /// Takes a report that [`checked`] has passed, and answers it; with a place it is a poll, which waits.
    ///
    /// # Errors
    /// When there are too many gateways or streams, or events cannot be told.
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
                // As many may be held as there are requests.
                drop(report);
                shared.poll(gateway, place, hold).await
            }
        }
    }

    /// Tells every gateway, those too that ask within the next minute.
    pub fn send(&self, event: GatewayEvent) {
        let now_ms = self.shared.clock.now_ms();
        self.shared.outbox.push(None, event, now_ms);
    }

    /// The gateways that report to this process.
    #[must_use]
    pub fn gateways(&self) -> Vec<GatewayView> {
        self.shared.registry().gateways(Instant::now())
    }

    /// Turns true when the service is ending.
    #[must_use]
    pub fn ending(&self) -> watch::Receiver<bool> {
        self.shared.ending.subscribe()
    }

    /// From here on polls are answered at once: the service is ending.
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

    /// Takes a report in its turn, or when it has waited for its turn long enough.
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
                "the whole list is needed"
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
            // Before looking: whatever comes from here on rings.
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

    /// What a gateway has not been told yet.
    fn news(&self, gateway: &str, place: Place) -> GatewayAnswer {
        let (log, letter) = match place {
            Place::Now => (None, None),
            Place::At { log, outbox } => (Some(log), outbox),
        };
        let mut events = Vec::new();
        // Not the log's own end: what this process has not heard of yet is told later.
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

/// How the streams of a session close that has ended for that cause.
const fn reason(cause: EndCause) -> CloseReason {
    match cause {
        EndCause::IdleTimeout | EndCause::AbsoluteTimeout => CloseReason::Expired,
        // Whoever logs in again in one tab goes on in the others, under the new session: what is revoked
        // stays closed, what has expired comes back after a login.
        EndCause::LoginAgain => CloseReason::Expired,
        _ => CloseReason::Revoked,
    }
}
