//! The worker's gateway in Envoy: sends its reports and polls, resets requests, sets the pace of the
//! ticks. One belongs to one root context, and lives as long as that has streams: Envoy keeps the old
//! root contexts after a change of the configuration until then.

use super::asking::{Answer, post};
use super::calls::{self, LogLevel, streams};
use super::metrics::Metrics;
use crate::config::{Config, Service};
use crate::feed::BEYOND_HOLD_MS;
use crate::gateway::{self, AFTER_RESETS_MS, BUSY_MS, IDLE_MS, MAX_ANSWER_BYTES, Told, Work};
use crate::placement::{self, Placed};
use crate::streams::{Due, Ending, Tap};
use berth_api::CloseReason;
use std::cell::{Cell, RefCell};

/// Milliseconds that a report may take.
const REPORT_TIMEOUT_MS: u32 = 5_000;

/// What the contexts of one configuration share of their gateway.
pub(super) struct Gateway {
    core: RefCell<gateway::Gateway>,
    /// One replica hears it all, as long as it is there: what it has heard decides what is said next.
    label: String,
    seed: u64,
    /// The time of the last tick, good enough to tell who was active when.
    now: Cell<u64>,
    /// Milliseconds between two ticks at present.
    period: Cell<u32>,
    poll: Cell<Option<u32>>,
    report: Cell<Option<u32>>,
    /// Requests that the next tick resets.
    resets: RefCell<Vec<u32>>,
    /// The last tick has reset requests.
    has_reset: Cell<bool>,
    failing: Cell<bool>,
    /// The root context wants ticks for itself.
    busy: Cell<bool>,
}

impl Gateway {
    /// A gateway with a new name; `None` when there is no randomness for it.
    pub(super) fn new(config: &Config) -> Option<Self> {
        let name = streams::random().ok()?;
        let grace_ms = u64::from(config.close_grace_ms);
        Some(Self {
            label: format!("{name:032x}"),
            seed: gateway::seed(name),
            core: RefCell::new(gateway::Gateway::new(name, config.feed, grace_ms)),
            now: Cell::new(calls::now_ms().unwrap_or_default()),
            period: Cell::new(0),
            poll: Cell::new(None),
            report: Cell::new(None),
            resets: RefCell::default(),
            has_reset: Cell::new(false),
            failing: Cell::new(false),
            busy: Cell::new(false),
        })
    }

    /// For the jitter of this worker's calls.
    pub(super) const fn seed(&self) -> u64 {
        self.seed
    }

    /// The name of this worker at the service.
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// Whether this session is known to be over.
    pub(super) fn has_ended(&self, session_ref: &str) -> bool {
        self.with(|core| core.has_ended(session_ref))
    }

    /// Somebody relies on events; true when what is cached may be used (S36).
    pub(super) fn want_events(&self, now: u64) -> bool {
        let fresh = self.with(|core| {
            core.want_events(now);
            core.is_fresh(now)
        });
        if !fresh {
            self.hurry();
        }
        fresh
    }

    /// A session's client has done something (S12).
    pub(super) fn active(&self, session_ref: &str) {
        let now = self.now.get();
        self.with(|core| core.active(session_ref, now));
    }

    /// A stream has been sent to its engine.
    pub(super) fn open(&self, id: u32, placed: Placed, now: u64) -> Option<Tap> {
        let tap = self.with(|core| Some(core.open(id, placed, now, random())));
        self.hurry();
        tap
    }

    /// A stream's close frame is on its way.
    pub(super) fn closing(&self, id: u32) {
        let now = self.clock();
        self.with(|core| core.closing(id, now));
    }

    /// A stream is over: why.
    pub(super) fn close(&self, id: u32, ending: Ending) -> Option<CloseReason> {
        let now = self.clock();
        let closed = self.with(|core| core.close(id, now, ending));
        self.hurry();
        closed
    }

    /// The next tick resets this request: nothing of it may go on, and it could not be answered. Not at once, since a
    /// reset enters the module again.
    pub(super) fn reset_later(&self, id: u32) {
        if let Ok(mut resets) = self.resets.try_borrow_mut() {
            resets.push(id);
        }
        self.hurry();
    }

    /// Gives back what an answer has placed, if it has, for a request that does not go on with it.
    pub(super) fn give_back(&self, answer: &Answer) {
        if let Some(stream) = placement::stream_of(answer.status, &answer.body) {
            self.with(|core| core.unused(stream));
            self.hurry();
        }
    }

    /// The time, or that of the last tick when the host does not tell.
    fn clock(&self) -> u64 {
        calls::now_ms().unwrap_or_else(|_| self.now.get())
    }

    /// A time that has not come yet, unless ticks are late: who must not be older than that is not. Costs no call
    /// of the host.
    pub(super) fn latest(&self) -> u64 {
        self.now.get().saturating_add(IDLE_MS.into())
    }

    /// The time of the last tick.
    pub(super) fn coarse_now(&self) -> u64 {
        self.now.get()
    }

    /// Begins a tick of this root context: resets requests. True when it has; this tick then calls nothing more, and the next
    /// one comes soon and resets nothing.
    pub(super) fn reset_due(&self, root: u32, metrics: &Metrics, now: u64) -> bool {
        self.now.set(now);
        if self.has_reset.take() {
            return false;
        }
        let Due {
            mut resets,
            warnings,
        } = self.with(|core| core.begin_tick(now));
        for _ in 0..warnings {
            metrics.age_warning();
        }
        if let Ok(mut noted) = self.resets.try_borrow_mut() {
            resets.append(&mut noted);
        }
        for id in &resets {
            // One that has ended by itself has no context.
            if streams::set_effective_context(*id).is_ok() {
                let _ = calls::reset_request();
            }
        }
        if resets.is_empty() {
            return false;
        }
        let _ = streams::set_effective_context(root);
        self.has_reset.set(true);
        self.set_period(AFTER_RESETS_MS);
        true
    }

    /// Sends what is due. Where the root context has something to look after itself (`busy`), the next tick comes soon.
    pub(super) fn send(&self, service: &Service, metrics: &Metrics, busy: bool) {
        self.busy.set(busy);
        let now = self.now.get();
        let Work { poll, report } = self.with(|core| core.work(now));
        if let Some((body, hold_ms)) = poll {
            let timeout = hold_ms.saturating_add(BEYOND_HOLD_MS);
            self.poll.set(self.call(service, &body, timeout));
            if self.poll.get().is_none() {
                self.polled(None, 0, metrics);
            }
        }
        if let Some(body) = report {
            self.report
                .set(self.call(service, &body, REPORT_TIMEOUT_MS));
            if self.report.get().is_none() {
                self.reported(None, 0, metrics);
            }
        }
        self.pace(now);
    }

    /// A callout has ended; what the cached tokens have to hear, if it was one of the gateway's.
    pub(super) fn on_reply(&self, token: u32, size: usize, metrics: &Metrics) -> Option<Told> {
        let token = Some(token);
        let status = calls::callout_status().unwrap_or_default();
        let answer = || {
            let sound = status == 200 && size <= MAX_ANSWER_BYTES;
            sound.then(|| calls::callout_body(size).ok()).flatten()
        };
        let told = if self.poll.get() == token {
            self.poll.set(None);
            self.polled(answer().as_deref(), status, metrics)
        } else if self.report.get() == token {
            self.report.set(None);
            self.reported(answer().as_deref(), status, metrics)
        } else {
            return None;
        };
        self.pace(self.now.get());
        Some(told)
    }

    fn polled(&self, answer: Option<&[u8]>, status: u16, metrics: &Metrics) -> Told {
        let now = self.clock();
        let told = self.with(|core| core.on_poll(answer, now, random()));
        self.heard(told, status, metrics)
    }

    fn reported(&self, answer: Option<&[u8]>, status: u16, metrics: &Metrics) -> Told {
        let now = self.clock();
        let told = self.with(|core| core.on_report(answer, now));
        self.heard(told, status, metrics)
    }

    /// Logs where an outage begins and ends. Status 0: the call was not even sent.
    fn heard(&self, told: Option<Told>, status: u16, metrics: &Metrics) -> Told {
        let Some(told) = told else {
            metrics.feed_failure();
            if !self.failing.replace(true) {
                let what = "the placement service does not take reports or gives no events";
                let text = format!("berth: {what}, status={status}");
                calls::log(LogLevel::Warn, &text);
            }
            return Told::default();
        };
        if self.failing.replace(false) {
            let text = "berth: the placement service takes reports and gives events again";
            calls::log(LogLevel::Info, text);
        }
        told
    }

    fn call(&self, service: &Service, body: &[u8], timeout_ms: u32) -> Option<u32> {
        let path = self.with(|core| core.path().to_owned());
        post(service, &self.label, &path, body, timeout_ms).ok()
    }

    /// Something has happened that the next tick should not be long in coming for.
    pub(super) fn hurry(&self) {
        if self.period.get() > BUSY_MS {
            self.set_period(BUSY_MS);
        }
    }

    fn pace(&self, now: u64) {
        let period = self.with(|core| Some(core.period_ms(now)));
        let period = period.filter(|_| !self.busy.get());
        self.set_period(period.unwrap_or(BUSY_MS));
    }

    /// Milliseconds between two ticks from now on; false when the host gives none.
    pub(super) fn set_period(&self, period: u32) -> bool {
        if self.period.get() != period && calls::set_tick_period_ms(period).is_ok() {
            self.period.set(period);
        }
        self.period.get() == period
    }

    /// Acts on the core, or returns the default when the core is in use. It is not in use while Envoy is called, as some
    /// calls come back into the module (see [`calls`]).
    fn with<T: Default>(&self, act: impl FnOnce(&mut gateway::Gateway) -> T) -> T {
        match self.core.try_borrow_mut() {
            Ok(mut core) => act(&mut core),
            Err(_) => T::default(),
        }
    }
}

/// One of `0.0..1.0`.
fn random() -> f64 {
    // 53 bits are what an f64 holds exactly.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit")]
    let share = |bits: u128| (bits >> 75) as f64 / (1_u64 << 53) as f64;
    streams::random().map_or(0.5, share)
}
