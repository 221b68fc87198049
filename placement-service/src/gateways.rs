//! The service's side of open streams: accepts the reports of gateways, answers their polls with events to act on, and
//! knows which streams are open where. Knows nothing of HTTP.

mod activity;
mod cursor;
mod drains;
mod engine_closures;
mod engine_sessions;
mod metrics;
mod outbox;
mod registry;
mod replica_requests;
mod replicas;
mod report;
mod session_monitor;
mod stream_directory;

use crate::core::clock::Clock;
use crate::events::follower::{Change, EventLogFollower, LogWindow, LoggedChange};
use crate::placement::PlacementService;
use crate::sessions::Sessions;
use activity::PendingActivity;
use berth_api::{CloseReason, GatewayAnswer, GatewayEvent, GatewayReport};
use berth_store::{Cursor, EndCause, LogId};
pub use cursor::GatewayCursor;
pub use drains::GatewayDrains;
use metrics::{GatewayCollector, GatewayMetrics};
use outbox::Outbox;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt;
pub use registry::{GatewayDrain, GatewayView, ReportedStream, StreamQuery};
use registry::{LimitExceeded, Outcome, Registry, SequenceCheck};
pub use report::checked;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
pub use stream_directory::{StreamDirectory, StreamPage};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

/// Maximum number of events of each kind in one answer.
const MAX_EVENTS: usize = 5_000;
/// How long a report waits for the one before it, which may arrive later over another connection.
const REORDER_TIMEOUT: Duration = Duration::from_millis(500);

/// Why a report is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    #[error("there are too many gateways")]
    TooManyGateways,
    #[error("there are too many streams")]
    TooManyStreams,
    /// The event log is unavailable: this process would not notice that a session ends.
    #[error("the event log does not answer")]
    LogUnavailable,
}

/// The gateways, their streams, and the events for them.
pub struct Gateways {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

struct Shared {
    registry: Mutex<Registry>,
    outbox: Outbox,
    sessions: Arc<Sessions>,
    placement: Arc<PlacementService>,
    clock: Arc<dyn Clock>,
    metrics: GatewayMetrics,
    pending_activity: PendingActivity,
    log: LogId,
    log_window: Arc<LogWindow>,
    newest: watch::Receiver<u64>,
    log_unavailable: watch::Receiver<bool>,
    shutting_down: watch::Sender<bool>,
    /// Notified when a report has been applied.
    report_applied: Notify,
    /// Notified when the status of sessions must be checked.
    sessions_due: Notify,
}

/// The dependencies on the rest of the service.
pub struct Dependencies<'a> {
    pub sessions: Arc<Sessions>,
    pub placement: Arc<PlacementService>,
    pub clock: Arc<dyn Clock>,
    pub event_log: &'a EventLogFollower,
    /// The id of the event log.
    pub log: LogId,
}

impl Gateways {
    /// Starts without gateways, and starts the task that monitors the sessions of their streams.
    #[must_use]
    pub fn start(
        dependencies: Dependencies<'_>,
        metrics: &mut prometheus_client::registry::Registry,
    ) -> Self {
        let accounting = dependencies.placement.accounting().clone();
        let shared = Arc::new(Shared {
            registry: Mutex::new(Registry::new(accounting)),
            outbox: Outbox::new(LogId(rand::rng().random())),
            sessions: dependencies.sessions,
            placement: dependencies.placement,
            clock: dependencies.clock,
            metrics: GatewayMetrics::register(metrics),
            pending_activity: PendingActivity::default(),
            log: dependencies.log,
            log_window: dependencies.event_log.log_window(),
            newest: dependencies.event_log.newest(),
            log_unavailable: dependencies.event_log.log_unavailable(),
            shutting_down: watch::Sender::new(false),
            report_applied: Notify::new(),
            sessions_due: Notify::new(),
        });
        metrics.register_collector(Box::new(GatewayCollector(shared.clone())));
        let watching = tokio::spawn(session_monitor::run(shared.clone()));
        let ending = tokio::spawn(engine_sessions::follow(shared.clone()));
        Self {
            shared,
            tasks: [watching.abort_handle(), ending.abort_handle()],
        }
    }

    /// Applies a report that passed [`checked`] and came from that address, and answers it. With a `cursor` it is a poll, which waits for events.
    ///
    /// # Errors
    /// When there are too many gateways or streams, or the event log is unavailable.
    pub async fn report(
        &self,
        gateway: &str,
        address: IpAddr,
        report: GatewayReport,
        cursor: Option<GatewayCursor>,
    ) -> Result<GatewayAnswer, GatewayError> {
        let shared = &self.shared;
        let outcome = shared.apply_report(gateway, &report).await?;
        shared.registry().set_address(gateway, address);
        shared.record_active(&report.active).await;
        for key in &report.active_keys {
            shared.placement.record_key_activity(key);
        }
        for failed in &report.failed_engines {
            shared
                .placement
                .suspect_engine(&failed.pool, &failed.engine);
        }
        if outcome.check_sessions {
            shared.sessions_due.notify_one();
        }
        match cursor {
            None => Ok(GatewayAnswer {
                resync: outcome.resync,
                ..GatewayAnswer::default()
            }),
            Some(cursor) => {
                let wait = Duration::from_millis(report.poll_timeout_ms.into());
                // Freed before the wait, since as many polls may wait as there are requests.
                drop(report);
                shared.poll(gateway, cursor, wait).await
            }
        }
    }

    /// Sends an event to every gateway, including those that poll within the next minute.
    pub fn broadcast(&self, event: GatewayEvent) {
        let now_ms = self.shared.clock.now_ms();
        self.shared.outbox.push(None, event, now_ms);
    }

    /// Becomes true when the service shuts down.
    #[must_use]
    pub fn shutdown_signal(&self) -> watch::Receiver<bool> {
        self.shared.shutting_down.subscribe()
    }

    /// Shuts down: from now on polls are answered immediately.
    pub fn shut_down(&self) {
        self.shared.shutting_down.send_replace(true);
    }
}

impl Drop for Gateways {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock()
    }

    /// Applies a report when all reports before it have been applied, or after waiting for them for `REORDER_TIMEOUT`.
    async fn apply_report(
        &self,
        gateway: &str,
        report: &GatewayReport,
    ) -> Result<Outcome, GatewayError> {
        let deadline = Instant::now() + REORDER_TIMEOUT;
        loop {
            let report_applied = self.report_applied.notified();
            tokio::pin!(report_applied);
            report_applied.as_mut().enable();
            if self.registry().check_sequence(gateway, report.sequence) != SequenceCheck::Gap
                || timeout_at(deadline, report_applied).await.is_err()
            {
                break;
            }
        }
        for stream in &report.opened {
            if let Some(key) = &stream.key {
                self.placement.adopt_key(&stream.pool, &stream.engine, key);
            }
        }
        let (now_ms, now) = (self.clock.now_ms(), Instant::now());
        let outcome = self.registry().apply(gateway, report, now_ms, now);
        self.report_applied.notify_waiters();
        let outcome = outcome.map_err(|limit| match limit {
            LimitExceeded::Gateways => GatewayError::TooManyGateways,
            LimitExceeded::Streams => GatewayError::TooManyStreams,
        })?;
        for (stream, left) in &outcome.gone {
            self.placement.stream_closed(stream, *left);
        }
        for reason in &outcome.closed {
            self.metrics.count_closed(*reason);
        }
        self.metrics.count_lost(outcome.lost);
        if outcome.resync_is_new {
            self.metrics.count_resync();
            let node = self.registry().node(gateway);
            tracing::info!(
                gateway,
                node,
                sequence = report.sequence,
                "full list of streams requested"
            );
        }
        Ok(outcome)
    }

    async fn poll(
        &self,
        gateway: &str,
        cursor: GatewayCursor,
        wait: Duration,
    ) -> Result<GatewayAnswer, GatewayError> {
        let deadline = Instant::now() + wait;
        let (mut log_newest, mut outbox_newest) = (self.newest.clone(), self.outbox.newest());
        let (mut log_unavailable, mut shutting_down) =
            (self.log_unavailable.clone(), self.shutting_down.subscribe());
        loop {
            // Before the check, so that every later change wakes the loop.
            log_newest.mark_unchanged();
            outbox_newest.mark_unchanged();
            if *log_unavailable.borrow_and_update() {
                return Err(GatewayError::LogUnavailable);
            }
            let answer = self.unread_events(gateway, cursor);
            let must_wait =
                !answer.resync && answer.events.is_empty() && cursor != GatewayCursor::Latest;
            if !must_wait || *shutting_down.borrow_and_update() {
                return Ok(answer);
            }
            tokio::select! {
                Ok(()) = log_newest.changed() => {}
                Ok(()) = outbox_newest.changed() => {}
                Ok(()) = log_unavailable.changed() => {}
                Ok(()) = shutting_down.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(answer),
            }
        }
    }

    /// The events that a gateway has not received yet.
    fn unread_events(&self, gateway: &str, cursor: GatewayCursor) -> GatewayAnswer {
        let (log, outbox_sequence) = match cursor {
            GatewayCursor::Latest => (None, None),
            GatewayCursor::After { log, outbox } => (Some(log), outbox),
        };
        let mut events = Vec::new();
        // Not the end of the log: entries that this process has not read yet are sent later.
        let mut sequence = self.log_window.position();
        let mut resync = self.registry().needs_full_list(gateway);
        if let Some(log) = log {
            let of_this_log = Some(log).filter(|log| log.log == self.log);
            match of_this_log.and_then(|log| self.log_window.read_after(log.sequence, MAX_EVENTS)) {
                Some(changes_since) => {
                    sequence = changes_since.sequence;
                    events.extend(changes_since.changes.into_iter().map(to_event));
                }
                None => resync = true,
            }
        }
        let now_ms = self.clock.now_ms();
        let outbox_events = self
            .outbox
            .read_after(outbox_sequence, gateway, MAX_EVENTS, now_ms);
        events.extend(outbox_events.events);
        let cursor = GatewayCursor::After {
            log: Cursor {
                log: self.log,
                sequence,
            },
            outbox: Some(outbox_events.next),
        };
        GatewayAnswer {
            cursor: Some(cursor.to_string()),
            events,
            resync: resync || outbox_events.lost,
        }
    }
}

fn to_event(logged: LoggedChange) -> GatewayEvent {
    match logged.change {
        Change::SessionEnded { session_ref, cause } => GatewayEvent::SessionEnded {
            session_ref: session_ref.to_string(),
            reason: close_reason(cause),
        },
        Change::KeyMoved { key, epoch } => GatewayEvent::KeyMoved {
            key: key.to_string(),
            epoch,
        },
    }
}

/// How the streams of a session close, by the session's end cause.
const fn close_reason(cause: EndCause) -> CloseReason {
    match cause {
        EndCause::IdleTimeout | EndCause::AbsoluteTimeout => CloseReason::Expired,
        // A browser that logs in again in one tab continues in its other tabs with the new session. Streams that are
        // closed as revoked stay closed; streams that are closed as expired reconnect after a login.
        EndCause::LoginAgain => CloseReason::Expired,
        _ => CloseReason::Revoked,
    }
}
