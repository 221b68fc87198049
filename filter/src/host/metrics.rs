//! Envoy counters of the filter, as `name.label=value`. Each is made when it first counts, so that a
//! gateway shows what has happened there and nothing else. What every request counts is kept here until the next
//! tick: each call of the host takes longer than all else that counting is. Counting never fails a request.

use super::calls;
use crate::rejection::Cause;
use crate::route::Route;
use berth_api::CloseReason;
use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;

/// The label of a request that no route takes.
const NONE: &str = "none";

/// Where a session's token comes from.
#[derive(Clone, Copy)]
pub(super) enum Cached {
    /// From the cache.
    Hit,
    /// From a callout of the request's own.
    Miss,
    /// From a callout that was under way.
    Coalesced,
}

/// A counter that Envoy hears of at the next tick.
struct Tally {
    name: String,
    pending: Cell<u32>,
    id: Cell<Option<u32>>,
}

impl Tally {
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
            self.id.set(calls::define_counter(&self.name).ok());
        }
        if let Some(id) = self.id.get() {
            let _ = calls::add(id, pending.into());
        }
    }
}

/// The counters of one worker's plugin.
pub(super) struct Metrics {
    /// `.route=...` of each route, in the order of the configuration.
    routes: Vec<String>,
    /// Of each route, and of requests without one.
    requests: Vec<Tally>,
    /// Hits, misses, coalesced.
    cached: [Tally; 3],
    rejections: RefCell<HashMap<(Cause, Option<usize>), u32>>,
    callout_failures: Cell<Option<u32>>,
    callouts: Cell<Option<u32>>,
    jwks_failures: Cell<Option<u32>>,
    feed_failures: Cell<Option<u32>>,
    age_warnings: Cell<Option<u32>>,
    lanes_lost: Cell<Option<u32>>,
    opened: RefCell<HashMap<String, u32>>,
    closed: RefCell<HashMap<CloseReason, u32>>,
}

impl Metrics {
    pub(super) fn new(routes: &[Route]) -> Self {
        let of = |action: &str, path: &str| {
            Tally::new(format!("berth_requests.action={action}.route={path}"))
        };
        let routed = |route: &Route| of(route.action.as_str(), route.pattern.as_str());
        let requests = routes.iter().map(routed).chain([of(NONE, NONE)]);
        let cached = |result| Tally::new(format!("berth_cache.result={result}"));
        let path = |route: &Route| route.pattern.as_str().to_owned();
        Self {
            routes: routes.iter().map(path).collect(),
            requests: requests.collect(),
            cached: ["hit", "miss", "coalesced"].map(cached),
            rejections: RefCell::default(),
            callout_failures: Cell::default(),
            callouts: Cell::default(),
            jwks_failures: Cell::default(),
            feed_failures: Cell::default(),
            age_warnings: Cell::default(),
            lanes_lost: Cell::default(),
            opened: RefCell::default(),
            closed: RefCell::default(),
        }
    }

    /// Tells Envoy what has been counted since the last tick.
    pub(super) fn flush(&self) {
        self.requests
            .iter()
            .chain(&self.cached)
            .for_each(Tally::flush);
    }

    /// A request has come, on the route at this place of the configuration.
    pub(super) fn request(&self, route: Option<usize>) {
        let place = route.unwrap_or(self.routes.len());
        if let Some(tally) = self.requests.get(place) {
            tally.count();
        }
    }

    /// A request was refused.
    pub(super) fn rejection(&self, cause: Cause, route: Option<usize>) {
        let name = || {
            let path = route.and_then(|route| self.routes.get(route));
            let (reason, path) = (cause.reason(), path.map_or(NONE, String::as_str));
            format!("berth_rejections.reason={reason}.route={path}")
        };
        let id = known(&self.rejections, &(cause, route), || {
            calls::define_counter(&name())
        });
        if let Some(id) = id {
            let _ = calls::increment(id);
        }
    }

    /// The placement service could not be asked, or gave no answer of its own.
    pub(super) fn callout_failure(&self) {
        count(&self.callout_failures, "berth_callout_failures");
    }

    /// A callout has ended after so many microseconds.
    pub(super) fn callout(&self, us: u64) {
        if self.callouts.get().is_none() {
            let id = calls::define_histogram("berth_callout_us");
            self.callouts.set(id.ok());
        }
        if let Some(id) = self.callouts.get() {
            let _ = calls::record(id, us);
        }
    }

    /// A request wanted a session's token.
    pub(super) fn cached(&self, cached: Cached) {
        let [hit, miss, coalesced] = &self.cached;
        match cached {
            Cached::Hit => hit.count(),
            Cached::Miss => miss.count(),
            Cached::Coalesced => coalesced.count(),
        }
    }

    /// The key set could not be fetched.
    pub(super) fn jwks_failure(&self) {
        count(&self.jwks_failures, "berth_jwks_failures");
    }

    /// A report or a poll of the feed failed.
    pub(super) fn feed_failure(&self) {
        count(&self.feed_failures, "berth_feed_failures");
    }

    /// The stream of calls has ended.
    pub(super) fn lane_lost(&self) {
        count(&self.lanes_lost, "berth_call_streams_ended");
    }

    /// A stream will soon be too old.
    pub(super) fn age_warning(&self) {
        count(&self.age_warnings, "berth_stream_age_warnings");
    }

    /// A stream of this pool has opened. How many are open is for Envoy and the service to say: a gauge of the
    /// filter's own would keep what a VM had when it traps.
    pub(super) fn stream_opened(&self, pool: &str) {
        let name = || format!("berth_streams_opened.pool={pool}");
        if let Some(id) = known(&self.opened, pool, || calls::define_counter(&name())) {
            let _ = calls::increment(id);
        }
    }

    /// A stream has closed.
    pub(super) fn stream_closed(&self, reason: CloseReason) {
        let name = || format!("berth_streams_closed.reason={}", reason.as_str());
        if let Some(id) = known(&self.closed, &reason, || calls::define_counter(&name())) {
            let _ = calls::increment(id);
        }
    }
}

/// The metric of this label, made when it is first needed.
fn known<K, Q>(
    known: &RefCell<HashMap<K, u32>>,
    label: &Q,
    define: impl FnOnce() -> calls::Result<u32>,
) -> Option<u32>
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    let mut known = known.try_borrow_mut().ok()?;
    if let Some(id) = known.get(label) {
        return Some(*id);
    }
    let id = define().ok()?;
    known.insert(label.to_owned(), id);
    Some(id)
}

fn count(slot: &Cell<Option<u32>>, name: &str) {
    if slot.get().is_none() {
        slot.set(calls::define_counter(name).ok());
    }
    if let Some(id) = slot.get() {
        let _ = calls::increment(id);
    }
}
