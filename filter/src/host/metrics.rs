//! Envoy counters of the filter, as `name.label=value`. Each is made when it first counts, so that a
//! gateway shows what has happened there and nothing else. Counting never fails a request.

use super::calls;
use crate::rejection::Cause;
use crate::route::Action;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// The counters of one worker's plugin.
#[derive(Default)]
pub(super) struct Metrics {
    requests: [Cell<Option<u32>>; 4],
    rejections: RefCell<HashMap<Cause, u32>>,
    callout_failures: Cell<Option<u32>>,
    jwks_failures: Cell<Option<u32>>,
}

impl Metrics {
    /// A request has come.
    pub(super) fn request(&self, action: Option<Action>) {
        let (slot, label) = match action {
            Some(Action::Place) => (&self.requests[0], "berth_requests.action=place"),
            Some(Action::Authenticate) => (&self.requests[1], "berth_requests.action=authenticate"),
            Some(Action::Bypass) => (&self.requests[2], "berth_requests.action=bypass"),
            None => (&self.requests[3], "berth_requests.action=none"),
        };
        count(slot, label);
    }

    /// A request was refused.
    pub(super) fn rejection(&self, cause: Cause) {
        let Ok(mut known) = self.rejections.try_borrow_mut() else {
            return;
        };
        let id = known.get(&cause).copied().or_else(|| {
            let name = format!("berth_rejections.reason={}", cause.reason());
            let id = calls::define_counter(&name).ok()?;
            known.insert(cause, id);
            Some(id)
        });
        if let Some(id) = id {
            let _ = calls::increment(id);
        }
    }

    /// The placement service could not be asked, or gave no answer of its own.
    pub(super) fn callout_failure(&self) {
        count(&self.callout_failures, "berth_callout_failures");
    }

    /// The key set could not be fetched.
    pub(super) fn jwks_failure(&self) {
        count(&self.jwks_failures, "berth_jwks_failures");
    }
}

fn count(slot: &Cell<Option<u32>>, name: &str) {
    if slot.get().is_none() {
        slot.set(calls::define_counter(name).ok());
    }
    if let Some(id) = slot.get() {
        let _ = calls::increment(id);
    }
}
