//! The metrics of the filter in Envoy, named `name.label=value`. Each is defined when it first counts, so a gateway
//! shows only what has happened there. Counters of every request are buffered until the next tick, because a host call
//! costs more than the rest of counting. A failure never affects a request.

use crate::abi;
use berth_api::CloseReason;
use berth_filter_core::decision::rejection::RejectReason;
use berth_filter_core::routing::Route;
use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;

/// The version of the filter.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The label of a request without a route.
const NONE: &str = "none";

/// How a request got the token of its session, or its engine.
#[derive(Clone, Copy)]
pub(crate) enum CacheResult {
    /// From the cache.
    Hit,
    /// By a call of its own.
    Miss,
    /// By the call of another request.
    Coalesced,
}

impl CacheResult {
    fn count(self, [hit, miss, coalesced]: &[BufferedCounter; 3]) {
        match self {
            Self::Hit => hit.count(),
            Self::Miss => miss.count(),
            Self::Coalesced => coalesced.count(),
        }
    }
}

/// A counter that is written to Envoy at the next tick.
struct BufferedCounter {
    name: String,
    pending: Cell<u32>,
    id: Cell<Option<u32>>,
}

impl BufferedCounter {
    const fn new(name: String) -> Self {
        Self {
            name,
            pending: Cell::new(0),
            id: Cell::new(None),
        }
    }

    fn count(&self) {
        self.pending.set(self.pending.get().saturating_add(1));
    }

    fn flush(&self) {
        let pending = self.pending.take();
        if pending == 0 {
            return;
        }
        if self.id.get().is_none() {
            self.id.set(abi::define_counter(&self.name).ok());
        }
        if let Some(id) = self.id.get() {
            let _ = abi::add(id, pending.into());
        }
    }
}

/// The counters of one worker's plugin.
pub(crate) struct Metrics {
    /// The path of each route, in the order of the configuration.
    routes: Vec<String>,
    /// One for each route, and one for requests without a route.
    requests: Vec<BufferedCounter>,
    /// Hits, misses, coalesced.
    cache: [BufferedCounter; 3],
    /// The same, for the engines of plain requests.
    engine_cache: [BufferedCounter; 3],
    engine_failures: RefCell<HashMap<String, u32>>,
    rejections: RefCell<HashMap<(RejectReason, Option<usize>), u32>>,
    callout_failures: Cell<Option<u32>>,
    callouts: Cell<Option<u32>>,
    jwks_failures: Cell<Option<u32>>,
    event_poll_failures: Cell<Option<u32>>,
    age_warnings: Cell<Option<u32>>,
    call_streams_closed: Cell<Option<u32>>,
    opened: RefCell<HashMap<String, u32>>,
    closed: RefCell<HashMap<CloseReason, u32>>,
}

impl Metrics {
    pub(crate) fn new(routes: &[Route]) -> Self {
        // Always 1: the version is the label.
        if let Ok(info) = abi::define_gauge(&format!("berth_build_info.version={VERSION}")) {
            let _ = abi::record(info, 1);
        }
        let counter = |action: &str, path: &str| {
            BufferedCounter::new(format!("berth_requests.action={action}.route={path}"))
        };
        let routed = |route: &Route| counter(route.action.as_str(), route.pattern.as_str());
        let requests = routes.iter().map(routed).chain([counter(NONE, NONE)]);
        let cache = |name: &str| {
            let counter = |result| BufferedCounter::new(format!("{name}.result={result}"));
            ["hit", "miss", "coalesced"].map(counter)
        };
        let path = |route: &Route| route.pattern.as_str().to_owned();
        Self {
            routes: routes.iter().map(path).collect(),
            requests: requests.collect(),
            cache: cache("berth_cache"),
            engine_cache: cache("berth_engine_cache"),
            engine_failures: RefCell::default(),
            rejections: RefCell::default(),
            callout_failures: Cell::default(),
            callouts: Cell::default(),
            jwks_failures: Cell::default(),
            event_poll_failures: Cell::default(),
            age_warnings: Cell::default(),
            call_streams_closed: Cell::default(),
            opened: RefCell::default(),
            closed: RefCell::default(),
        }
    }

    /// Writes the buffered counts to Envoy.
    pub(crate) fn flush(&self) {
        self.requests
            .iter()
            .chain(&self.cache)
            .chain(&self.engine_cache)
            .for_each(BufferedCounter::flush);
    }

    /// A request of the route with this index.
    pub(crate) fn request(&self, route: Option<usize>) {
        let index = route.unwrap_or(self.routes.len());
        if let Some(counter) = self.requests.get(index) {
            counter.count();
        }
    }

    /// A request was refused.
    pub(crate) fn rejection(&self, reason: RejectReason, route: Option<usize>) {
        let name = || {
            let path = route.and_then(|route| self.routes.get(route));
            let (reason, path) = (reason.as_str(), path.map_or(NONE, String::as_str));
            format!("berth_rejections.reason={reason}.route={path}")
        };
        let id = find_or_define(&self.rejections, &(reason, route), || {
            abi::define_counter(&name())
        });
        if let Some(id) = id {
            let _ = abi::increment(id);
        }
    }

    /// A call failed.
    pub(crate) fn callout_failure(&self) {
        count(&self.callout_failures, "berth_callout_failures");
    }

    /// A call has ended after `duration_us`.
    pub(crate) fn callout(&self, duration_us: u64) {
        if self.callouts.get().is_none() {
            let id = abi::define_histogram("berth_callout_duration_us");
            self.callouts.set(id.ok());
        }
        if let Some(id) = self.callouts.get() {
            let _ = abi::record(id, duration_us);
        }
    }

    /// A request needed the token of a session.
    pub(crate) fn cache(&self, result: CacheResult) {
        result.count(&self.cache);
    }

    /// A plain request needed its engine.
    pub(crate) fn engine_cache(&self, result: CacheResult) {
        result.count(&self.engine_cache);
    }

    /// An engine of this pool did not answer a plain request.
    pub(crate) fn engine_failure(&self, pool: &str) {
        let name = || format!("berth_engine_failures.pool={pool}");
        let failures = &self.engine_failures;
        if let Some(id) = find_or_define(failures, pool, || abi::define_counter(&name())) {
            let _ = abi::increment(id);
        }
    }

    /// The key set could not be fetched.
    pub(crate) fn jwks_failure(&self) {
        count(&self.jwks_failures, "berth_jwks_failures");
    }

    /// A report or a poll failed.
    pub(crate) fn event_poll_failed(&self) {
        count(&self.event_poll_failures, "berth_event_poll_failures");
    }

    /// The call stream has ended.
    pub(crate) fn call_stream_closed(&self) {
        count(&self.call_streams_closed, "berth_call_stream_closed_total");
    }

    /// A stream will soon reach its maximum age.
    pub(crate) fn age_warning(&self) {
        count(&self.age_warnings, "berth_stream_age_warnings");
    }

    /// A stream of this pool has opened. There is no gauge of open streams: after a trap it would keep the value of the
    /// lost VM. Envoy and the service count them.
    pub(crate) fn stream_opened(&self, pool: &str) {
        let name = || format!("berth_streams_opened.pool={pool}");
        if let Some(id) = find_or_define(&self.opened, pool, || abi::define_counter(&name())) {
            let _ = abi::increment(id);
        }
    }

    /// A stream has closed.
    pub(crate) fn stream_closed(&self, reason: CloseReason) {
        let name = || format!("berth_streams_closed.reason={}", reason.as_str());
        if let Some(id) = find_or_define(&self.closed, &reason, || abi::define_counter(&name())) {
            let _ = abi::increment(id);
        }
    }
}

/// The metric of this label, defined at its first use.
fn find_or_define<K, Q>(
    metrics: &RefCell<HashMap<K, u32>>,
    label: &Q,
    define: impl FnOnce() -> abi::Result<u32>,
) -> Option<u32>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    let mut metrics = metrics.try_borrow_mut().ok()?;
    if let Some(id) = metrics.get(label) {
        return Some(*id);
    }
    let id = define().ok()?;
    metrics.insert(label.to_owned(), id);
    Some(id)
}

fn count(slot: &Cell<Option<u32>>, name: &str) {
    if slot.get().is_none() {
        slot.set(abi::define_counter(name).ok());
    }
    if let Some(id) = slot.get() {
        let _ = abi::increment(id);
    }
}
