//! The drains of engines under way: when the streams of a key close. A stream that opens meanwhile joins the others of its
//! key, and closes with them. Bounded in number. Knows no host; times are milliseconds since 1970.

use super::PlacedStream;
use berth_api::drain_delay_ms;
use std::collections::VecDeque;

/// Maximum drains that are remembered; the oldest one goes first.
const MAX_DRAINS: usize = 1_000;

#[derive(Debug)]
struct EngineDrain {
    pool: String,
    engine: String,
    began_at: u64,
    over_ms: u64,
}

/// The drains.
#[derive(Debug, Default)]
pub(super) struct EngineDrains(VecDeque<EngineDrain>);

impl EngineDrains {
    /// An engine is drained over a time.
    pub(super) fn begin(&mut self, pool: &str, engine: &str, over_ms: u64, now: u64) {
        self.0.retain(|drain| {
            let is_over = now >= drain.began_at.saturating_add(drain.over_ms);
            !is_over && (drain.pool != pool || drain.engine != engine)
        });
        if self.0.len() >= MAX_DRAINS {
            self.0.pop_front();
        }
        self.0.push_back(EngineDrain {
            pool: pool.to_owned(),
            engine: engine.to_owned(),
            began_at: now,
            over_ms,
        });
    }

    /// The drain of an engine has ended.
    pub(super) fn end(&mut self, pool: &str, engine: &str) {
        self.0
            .retain(|drain| drain.pool != pool || drain.engine != engine);
    }

    /// When a stream closes, if it has a key and its engine is drained. `None` also after the moment of its key: the service
    /// would not have placed it there, so the drain has ended and this gateway has missed that.
    pub(super) fn close_at(&self, placed: &PlacedStream, now: u64) -> Option<u64> {
        let key = placed.key.as_deref()?;
        let mut drains = self.0.iter();
        let drain = drains.find(|drain| {
            let is_under_way = now <= drain.began_at.saturating_add(drain.over_ms);
            is_under_way && drain.pool == placed.pool && drain.engine == placed.engine
        })?;
        let close_at = drain
            .began_at
            .saturating_add(drain_delay_ms(key, drain.over_ms));
        (close_at >= now).then_some(close_at)
    }

    /// The clock has moved back by `moved_back_ms`.
    pub(super) fn clock_moved_back(&mut self, moved_back_ms: u64) {
        for drain in &mut self.0 {
            drain.began_at = drain.began_at.saturating_sub(moved_back_ms);
        }
    }
}
