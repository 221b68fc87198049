//! The streams of one pool by their holder: a login session, or the account of a program whose token belongs to no
//! session. The limit is checked and the stream counted under one lock, so parallel placements cannot exceed the limit.
//! A holder is removed with its last stream, or at the next exchange with other replicas, so memory is bounded by the
//! number of streams.

use crate::stream_holder::{is_token_ref, stream_holder};
use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Streams that one holder may have in one pool; `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamLimits {
    /// Of a login session.
    pub per_session: Option<NonZeroU32>,
    /// Of a program account.
    pub per_bearer: Option<NonZeroU32>,
}

impl StreamLimits {
    fn limit(self, holder: &str) -> Option<u32> {
        let limit = if is_token_ref(holder) {
            self.per_bearer
        } else {
            self.per_session
        };
        limit.map(NonZeroU32::get)
    }
}

/// The streams of one pool.
#[derive(Debug, Default)]
pub struct PoolStreams(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    limits: StreamLimits,
    /// By public name. The hash is seeded, so a fast one is enough.
    holders: HashMap<Arc<str>, Count, RandomState>,
    /// Changes are listed for other replicas.
    exchanges: bool,
    /// Holders whose `changed` is set.
    changed: Vec<Arc<str>>,
}

#[derive(Debug)]
struct Count {
    /// The key, shared with the slots.
    holder: Arc<str>,
    own: u32,
    /// Streams through other replicas, as of the last exchange.
    remote: u32,
    changed: bool,
}

impl State {
    /// The count of a holder, its limit, and where its changes are listed, if they are. A new count is 0: less than
    /// any limit.
    fn find_or_insert(
        &mut self,
        name: &str,
    ) -> (&mut Count, Option<u32>, Option<&mut Vec<Arc<str>>>) {
        let limit = self.limits.limit(name);
        let changed = (self.exchanges && limit.is_some()).then_some(&mut self.changed);
        let count = self.holders.entry(Arc::from(name));
        let count = count.or_insert_with_key(|holder| Count {
            holder: Arc::clone(holder),
            own: 0,
            remote: 0,
            changed: false,
        });
        (count, limit, changed)
    }

    fn release(&mut self, holder: &str) {
        let Some(count) = self.holders.get_mut(holder) else {
            return;
        };
        count.own = count.own.saturating_sub(1);
        if self.exchanges && self.limits.limit(holder).is_some() {
            // Removed when the other replicas know it.
            count.mark_changed(&mut self.changed);
        } else if count.own == 0 {
            self.holders.remove(holder);
        }
    }

    fn start_exchange(&mut self) {
        self.exchanges = true;
        for (holder, count) in &mut self.holders {
            if self.limits.limit(holder).is_some() {
                count.mark_changed(&mut self.changed);
            }
        }
    }

    fn take_changed(&mut self) -> Vec<(Arc<str>, u32)> {
        let mut counts = Vec::with_capacity(self.changed.len());
        for holder in self.changed.drain(..) {
            let Some(count) = self.holders.get_mut(&holder) else {
                continue;
            };
            count.changed = false;
            let own_count = count.own;
            if own_count == 0 {
                self.holders.remove(&holder);
            }
            counts.push((holder, own_count));
        }
        counts
    }

    /// A holder at its limit because of other replicas stays listed: they may have fewer by the next exchange, and
    /// nothing here would change until then.
    fn set_remote(&mut self, holder: &str, remote: u32) {
        let Some(count) = self.holders.get_mut(holder).filter(|_| self.exchanges) else {
            return;
        };
        count.remote = remote;
        let limit = self.limits.limit(holder);
        if remote > 0 && limit.is_some_and(|limit| count.total() >= limit) {
            count.mark_changed(&mut self.changed);
        }
    }
}

impl Count {
    const fn total(&self) -> u32 {
        self.own.saturating_add(self.remote)
    }

    fn mark_changed(&mut self, changed: &mut Vec<Arc<str>>) {
        if !self.changed {
            self.changed = true;
            changed.push(Arc::clone(&self.holder));
        }
    }
}

/// One stream that counts, until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct StreamSlot {
    streams: Arc<PoolStreams>,
    holder: Arc<str>,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.streams.release(&self.holder);
    }
}

impl PoolStreams {
    /// Sets the limits.
    pub fn set_limits(&self, limits: StreamLimits) {
        self.state().limits = limits;
    }

    /// Counts one more stream of the session.
    ///
    /// # Errors
    /// The limit, when its holder has reached it.
    pub fn acquire(self: &Arc<Self>, session_ref: &str) -> Result<StreamSlot, u32> {
        let mut state = self.state();
        let (count, limit, changed) = state.find_or_insert(stream_holder(session_ref));
        match limit {
            Some(limit) if count.total() >= limit => Err(limit),
            _ => Ok(self.slot(count, changed)),
        }
    }

    /// Counts a stream of the session that is open already, whatever the limit.
    pub fn adopt(self: &Arc<Self>, session_ref: &str) -> StreamSlot {
        let mut state = self.state();
        let (count, _, changed) = state.find_or_insert(stream_holder(session_ref));
        self.slot(count, changed)
    }

    fn slot(
        self: &Arc<Self>,
        count: &mut Count,
        changed: Option<&mut Vec<Arc<str>>>,
    ) -> StreamSlot {
        count.own = count.own.saturating_add(1);
        if let Some(changed) = changed {
            count.mark_changed(changed);
        }
        StreamSlot {
            streams: Arc::clone(self),
            holder: Arc::clone(&count.holder),
        }
    }

    fn release(&self, holder: &str) {
        self.state().release(holder);
    }

    /// Streams of the session's holder, through all replicas as far as is known, and its limit.
    #[must_use]
    pub fn count(&self, session_ref: &str) -> (u32, Option<u32>) {
        let name = stream_holder(session_ref);
        let state = self.state();
        let total = state.holders.get(name).map_or(0, Count::total);
        (total, state.limits.limit(name))
    }

    pub(super) fn start_exchange(&self) {
        self.state().start_exchange();
    }

    pub(super) fn stop_exchange(&self) {
        let mut state = self.state();
        state.exchanges = false;
        state.changed = Vec::new();
        state.holders.retain(|_, count| {
            count.remote = 0;
            count.changed = false;
            count.own > 0
        });
    }

    pub(super) fn take_changed(&self) -> Vec<(Arc<str>, u32)> {
        self.state().take_changed()
    }

    pub(super) fn set_remote(&self, holder: &str, remote: u32) {
        self.state().set_remote(holder, remote);
    }

    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        self.state().holders.len()
    }

    /// No code under the lock can panic half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}
