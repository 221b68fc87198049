//! The worker's gateway in Envoy: sends its reports and polls, resets requests, sets the tick period. It belongs to one
//! root context and lives as long as that has streams: after a change of the configuration Envoy keeps the old root
//! context until then.

use crate::abi::{self, streams};
use crate::metrics::{Metrics, VERSION};
use crate::service_client::{ServiceResponse, post};
use berth_api::CloseReason;
use berth_filter_core::affinity::EngineRoute;
use berth_filter_core::config::{Config, Service};
use berth_filter_core::control::events::POLL_MARGIN_MS;
use berth_filter_core::control::identity::Identity;
use berth_filter_core::control::{
    self, ACTIVE_TICK_MS, AFTER_RESETS_TICK_MS, IDLE_TICK_MS, Invalidation, MAX_ANSWER_BYTES,
    TickActions,
};
use berth_filter_core::decision::Worker;
use berth_filter_core::decision::pending::engine::PlacedRequest;
use berth_filter_core::decision::response::placed_stream_id;
use berth_filter_core::streams::{
    ActiveStream, DueActions, EndObservation, FrameInterceptor, PlacedStream, StreamSummary,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::OnceLock;

/// Maximum milliseconds of a report.
const REPORT_TIMEOUT_MS: u32 = 5_000;

/// The property with the `node.id` of the Envoy.
const NODE_ID: &str = "xds\0node\0id";

/// When the filter started in this worker. A change of the configuration makes a new gateway, but no new start.
fn started_at() -> u64 {
    static STARTED_AT: OnceLock<u64> = OnceLock::new();
    *STARTED_AT.get_or_init(|| abi::now_ms().unwrap_or_default())
}

/// The gateway that the contexts of one configuration share.
pub(crate) struct Gateway {
    core: RefCell<control::Gateway>,
    /// The name of the worker. As a label it sends all reports to one replica, which must receive them in order.
    label: String,
    seed: u64,
    /// The time of the last tick: precise enough for activity.
    now: Cell<u64>,
    /// The current tick period in milliseconds.
    period: Cell<u32>,
    /// The call of the poll in flight.
    poll: Cell<Option<u32>>,
    /// The call of the report in flight.
    report: Cell<Option<u32>>,
    /// Requests that the next tick resets.
    resets: RefCell<Vec<u32>>,
    /// The last tick has reset requests.
    has_reset: Cell<bool>,
    failing: Cell<bool>,
    /// The root context needs frequent ticks.
    busy: Cell<bool>,
}

impl Gateway {
    /// A gateway with a random name; `None` when the host has no randomness.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let name = streams::random().ok()?;
        let close_timeout_ms = u64::from(config.close_timeout_ms);
        let identity = Identity {
            node: streams::text_property(NODE_ID).ok(),
            version: VERSION.to_owned(),
            started_at: started_at(),
        };
        log::info!(
            "berth: filter {VERSION} runs, node={} gateway={name:032x}",
            identity.node.as_deref().unwrap_or("-")
        );
        let core = control::Gateway::new(name, identity, config.events, close_timeout_ms);
        Some(Self {
            core: RefCell::new(core),
            label: format!("{name:032x}"),
            seed: control::seed(name),
            now: Cell::new(abi::now_ms().unwrap_or_default()),
            period: Cell::new(0),
            poll: Cell::new(None),
            report: Cell::new(None),
            resets: RefCell::default(),
            has_reset: Cell::new(false),
            failing: Cell::new(false),
            busy: Cell::new(false),
        })
    }

    /// The seed of this worker's jitter.
    pub(crate) const fn seed(&self) -> u64 {
        self.seed
    }

    /// The name of this worker at the service.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// What decisions need to know of this worker.
    pub(crate) fn worker(&self) -> Worker<'_> {
        Worker {
            gateway: &self.label,
            draining: self.with_core(|core| core.is_refusing()),
        }
    }

    /// Whether this session has ended recently.
    pub(crate) fn has_ended(&self, session_ref: &str) -> bool {
        self.with_core(|core| core.has_ended(session_ref))
    }

    /// Keeps the gateway polling for events; true when they are fresh, so that cached tokens may be used.
    pub(crate) fn want_events(&self, now: u64) -> bool {
        let events_current = self.with_core(|core| {
            core.want_events(now);
            core.is_fresh(now)
        });
        if !events_current {
            self.expedite_tick();
        }
        events_current
    }

    /// The client of a session was active.
    pub(crate) fn active(&self, session_ref: &str) {
        let now = self.now.get();
        self.with_core(|core| core.active(session_ref, now));
    }

    /// The client of a stream was active.
    pub(crate) fn active_at_engine(&self, active: &ActiveStream) {
        let now = self.now.get();
        self.with_core(|core| core.active_at_engine(active, now));
    }

    /// A plain request was sent to its engine.
    pub(crate) fn begin_request(&self, id: u32, placed: &PlacedRequest) {
        let now = self.now.get();
        let route = &placed.route;
        let session_ref = Rc::clone(&route.session_ref);
        let expires_at = route.session_expires_at.saturating_mul(1_000);
        self.with_core(|core| {
            if placed.counts_activity {
                let active = ActiveStream {
                    session_ref: Rc::clone(&session_ref),
                    key: Some(Rc::clone(&route.key)),
                };
                core.active_at_engine(&active, now);
            }
            core.begin_request(id, session_ref, expires_at);
        });
    }

    /// A plain request at an engine has ended.
    pub(crate) fn end_request(&self, id: u32) {
        self.with_core(|core| core.end_request(id));
    }

    /// An engine did not answer a plain request.
    pub(crate) fn engine_failed(&self, route: &EngineRoute) {
        self.with_core(|core| core.engine_failed(&route.pool, &route.engine));
        self.expedite_tick();
    }

    /// Adds a stream that was sent to its engine.
    pub(crate) fn open(&self, id: u32, placed: PlacedStream, now: u64) -> Option<FrameInterceptor> {
        let interceptor = self.with_core(|core| Some(core.open(id, placed, now, random())));
        self.expedite_tick();
        interceptor
    }

    /// The close frame of a stream was sent.
    pub(crate) fn close_frame_sent(&self, id: u32) {
        let now = self.clock();
        self.with_core(|core| core.close_frame_sent(id, now));
    }

    /// Why a stream ends, for the access log.
    pub(crate) fn end_text(&self, id: u32, observed: EndObservation<'_>) -> Option<String> {
        self.with_core(|core| core.end_text(id, observed))
    }

    /// Removes a stream that has ended; returns why it ended.
    pub(crate) fn close(&self, id: u32, summary: StreamSummary) -> Option<CloseReason> {
        let now = self.clock();
        let reason = self.with_core(|core| core.close(id, now, summary));
        self.expedite_tick();
        reason
    }

    /// The next tick resets this request, which must not continue and could not be answered. Not at once, since a reset
    /// re-enters the module (see [`abi`]).
    pub(crate) fn reset_later(&self, id: u32) {
        if let Ok(mut resets) = self.resets.try_borrow_mut() {
            resets.push(id);
        }
        self.expedite_tick();
    }

    /// Releases what a response has placed, if anything, for a request that does not use it.
    pub(crate) fn release_placement(&self, response: &ServiceResponse) {
        if let Some(stream) = placed_stream_id(response.status, &response.body) {
            self.with_core(|core| core.release_placement(stream));
            self.expedite_tick();
        }
    }

    /// The current time, or the time of the last tick when the host call fails.
    pub(crate) fn clock(&self) -> u64 {
        abi::now_ms().unwrap_or_else(|_| self.now.get())
    }

    /// Upper bound of the current time (last tick + idle period). Expiry checks against it err on the safe side and
    /// need no host call.
    pub(crate) fn upper_bound_now(&self) -> u64 {
        self.now.get().saturating_add(IDLE_TICK_MS.into())
    }

    /// The time of the last tick.
    pub(crate) fn coarse_now(&self) -> u64 {
        self.now.get()
    }

    /// Begins a tick of this root context: resets requests. True when it has reset any: this tick then makes no other
    /// call, and the next one follows soon and resets nothing.
    pub(crate) fn reset_due(&self, root: u32, metrics: &Metrics, now: u64) -> bool {
        self.now.set(now);
        if self.has_reset.take() {
            return false;
        }
        let DueActions {
            mut resets,
            warnings,
        } = self.with_core(|core| core.begin_tick(now));
        for _ in 0..warnings {
            metrics.age_warning();
        }
        if let Ok(mut deferred_resets) = self.resets.try_borrow_mut() {
            resets.append(&mut deferred_resets);
        }
        for id in &resets {
            // A request that has ended meanwhile has no context.
            if streams::set_effective_context(*id).is_ok() {
                let _ = abi::reset_request();
            }
        }
        if resets.is_empty() {
            return false;
        }
        let _ = streams::set_effective_context(root);
        self.has_reset.set(true);
        self.set_period(AFTER_RESETS_TICK_MS);
        true
    }

    /// Sends what is due. `busy`: the root context needs the next tick soon.
    pub(crate) fn send(&self, service: &Service, metrics: &Metrics, busy: bool) {
        self.busy.set(busy);
        let now = self.now.get();
        let TickActions { poll, report } = self.with_core(|core| core.tick_actions(now));
        if let Some((body, poll_timeout_ms)) = poll {
            let timeout = poll_timeout_ms.saturating_add(POLL_MARGIN_MS);
            self.poll.set(self.post(service, &body, timeout));
            if self.poll.get().is_none() {
                self.on_poll(None, 0, metrics);
            }
        }
        if let Some(body) = report {
            self.report
                .set(self.post(service, &body, REPORT_TIMEOUT_MS));
            if self.report.get().is_none() {
                self.on_report(None, 0, metrics);
            }
        }
        self.update_tick_period(now);
    }

    /// An HTTP call of the root context has ended: what to do with cached tokens, if it was a poll or a report.
    pub(crate) fn on_response(
        &self,
        call: u32,
        size: usize,
        metrics: &Metrics,
    ) -> Option<Invalidation> {
        let call = Some(call);
        let status = abi::callout_status().unwrap_or_default();
        let body = || {
            let valid = status == 200 && size <= MAX_ANSWER_BYTES;
            valid.then(|| abi::callout_body(size).ok()).flatten()
        };
        let invalidation = if self.poll.get() == call {
            self.poll.set(None);
            self.on_poll(body().as_deref(), status, metrics)
        } else if self.report.get() == call {
            self.report.set(None);
            self.on_report(body().as_deref(), status, metrics)
        } else {
            return None;
        };
        self.update_tick_period(self.now.get());
        Some(invalidation)
    }

    fn on_poll(&self, body: Option<&[u8]>, status: u16, metrics: &Metrics) -> Invalidation {
        let now = self.clock();
        let invalidation = self.with_core(|core| core.on_poll(body, now, random()));
        self.log_outage(invalidation, status, metrics)
    }

    fn on_report(&self, body: Option<&[u8]>, status: u16, metrics: &Metrics) -> Invalidation {
        let now = self.clock();
        let invalidation = self.with_core(|core| core.on_report(body, now));
        self.log_outage(invalidation, status, metrics)
    }

    /// Logs the begin and the end of an outage. Status 0: the call was not sent.
    fn log_outage(
        &self,
        invalidation: Option<Invalidation>,
        status: u16,
        metrics: &Metrics,
    ) -> Invalidation {
        let Some(invalidation) = invalidation else {
            metrics.event_poll_failed();
            if !self.failing.replace(true) {
                log::warn!(
                    "berth: the placement service does not accept reports or gives no events, status={status}"
                );
            }
            return Invalidation::default();
        };
        if self.failing.replace(false) {
            log::info!("berth: the placement service accepts reports and gives events again");
        }
        invalidation
    }

    fn post(&self, service: &Service, body: &[u8], timeout_ms: u32) -> Option<u32> {
        let path = self.with_core(|core| core.path().to_owned());
        post(service, &self.label, &path, body, timeout_ms).ok()
    }

    /// Makes the next tick come soon.
    pub(crate) fn expedite_tick(&self) {
        if self.period.get() > ACTIVE_TICK_MS {
            self.set_period(ACTIVE_TICK_MS);
        }
    }

    fn update_tick_period(&self, now: u64) {
        let period = self.with_core(|core| Some(core.period_ms(now)));
        let period = period.filter(|_| !self.busy.get());
        self.set_period(period.unwrap_or(ACTIVE_TICK_MS));
    }

    /// Sets the tick period in milliseconds; false when the host refuses it.
    pub(crate) fn set_period(&self, period: u32) -> bool {
        if self.period.get() != period && abi::set_tick_period_ms(period).is_ok() {
            self.period.set(period);
        }
        self.period.get() == period
    }

    /// Acts on the core, or returns the default when the core is borrowed. It is never borrowed during a host call,
    /// since some host calls re-enter the module (see [`abi`]).
    fn with_core<T: Default>(&self, action: impl FnOnce(&mut control::Gateway) -> T) -> T {
        match self.core.try_borrow_mut() {
            Ok(mut core) => action(&mut core),
            Err(_) => T::default(),
        }
    }
}

/// A random number in `0.0..1.0`.
fn random() -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let share = |bits: u128| (bits >> 75) as f64 / (1_u64 << 53) as f64;
    streams::random().map_or(0.5, share)
}
