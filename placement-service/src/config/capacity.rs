//! Limits of a pool: sessions, memory, streams, and the admission queue.

use super::fault_collector::{FaultCollector, SECOND};
use super::{Placement, Pool};
use berth_scheduler::accounting::StreamLimits;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::time::Duration;

/// Limits of a pool; absent: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Maximum sessions on one engine.
    pub per_engine: Option<u32>,
    /// Maximum sessions on all engines together.
    pub per_pool: Option<u32>,
    /// An engine with less free memory than this, in MB, gets no new sessions.
    pub memory_floor_mb: Option<f64>,
}

/// The queue of placements that found every engine full, first in, first out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Maximum length; 0: no queue.
    pub max_length: u32,
    /// Maximum time in the queue.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_length: 0,
            timeout: Duration::from_secs(5),
        }
    }
}

/// Each queued placement is an open request at a gateway.
const MAX_WAITING: u32 = 100_000;

impl Pool {
    /// Maximum streams in this pool of one session, and of one account's programs.
    #[must_use]
    pub fn stream_limits(&self, placement: &Placement) -> StreamLimits {
        let limit = |own: Option<u32>, usual| NonZeroU32::new(own.unwrap_or(usual));
        StreamLimits {
            per_session: limit(
                self.max_streams_per_session,
                placement.max_streams_per_session,
            ),
            per_bearer: limit(
                self.max_streams_per_bearer,
                placement.max_streams_per_bearer,
            ),
        }
    }
}

pub(super) fn check(path: &str, pool: &Pool, faults: &mut FaultCollector) {
    let Capacity {
        per_engine,
        per_pool,
        memory_floor_mb,
    } = pool.capacity;
    for (name, limit) in [("per_engine", per_engine), ("per_pool", per_pool)] {
        if limit == Some(0) {
            faults.add(format!("{path}.capacity.{name}"), "must be 1 or more");
        }
    }
    if memory_floor_mb.is_some_and(|floor| !floor.is_finite() || floor <= 0.0) {
        let message = "must be more than 0";
        faults.add(format!("{path}.capacity.memory_floor_mb"), message);
    }
    if pool.queue.max_length > MAX_WAITING {
        let message = format!("must be 0 to {MAX_WAITING}");
        faults.add(format!("{path}.queue.max_length"), message);
    }
    let tenth = Duration::from_millis(100);
    faults.check_range(
        &format!("{path}.queue.timeout"),
        pool.queue.timeout,
        tenth,
        120 * SECOND,
    );
}

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    fn faults(pool: &str) -> String {
        let yaml = format!(
            "pools: [ {{ name: p, driver: qix, cluster: c, discovery: {{ static: [] }}, {pool} }} ]"
        );
        from_text(&yaml).map_or_else(|f| f.to_string(), |_| String::new())
    }

    #[test]
    fn invalid_limits_are_faults() {
        assert_eq!(
            faults("capacity: { per_engine: 0, per_pool: 0, memory_floor_mb: -1 }"),
            "pools[0].capacity.memory_floor_mb: must be more than 0\n\
             pools[0].capacity.per_engine: must be 1 or more\n\
             pools[0].capacity.per_pool: must be 1 or more"
        );
        assert_eq!(
            faults("strategy: weighted, capacity: { per_engine: 6 }"),
            ""
        );
    }

    #[test]
    fn pools_inherit_or_override_the_stream_limits() {
        let limits = |placement: &str, pool: &str| {
            let yaml = format!(
                "placement: {{ {placement} }}\npools: [ {{ name: p, driver: qix, cluster: c, discovery: {{ static: [] }}, {pool} }} ]"
            );
            let config = from_text(&yaml).unwrap().config;
            let limits = config.pools[0].stream_limits(&config.placement);
            let [session, bearer] = [limits.per_session, limits.per_bearer];
            [session, bearer].map(|limit| limit.map_or(0, u32::from))
        };
        assert_eq!(limits("", ""), [200, 1000]);
        let usual = "max_streams_per_session: 5, max_streams_per_bearer: 0";
        assert_eq!(limits(usual, ""), [5, 0]);
        assert_eq!(limits(usual, "max_streams_per_session: 0"), [0, 0]);
        assert_eq!(limits(usual, "max_streams_per_bearer: 9"), [5, 9]);
        assert_eq!(
            faults("max_streams_per_session: -1"),
            "pools[0].max_streams_per_session: invalid value: integer `-1`, expected u32"
        );
        assert_eq!(
            faults("max_streams_per_bearer: many"),
            "pools[0].max_streams_per_bearer: invalid type: string \"many\", expected u32"
        );
    }

    #[test]
    fn the_queue_timeout_must_not_exceed_the_placement_deadline() {
        assert_eq!(
            faults("queue: { max_length: 5, timeout: 11s }"),
            "pools[0].queue.timeout: must not be longer than placement.deadline"
        );
        assert_eq!(
            faults("engine_session_ttl: 0s"),
            "pools[0].engine_session_ttl: must be 1s to 30m, not 0s"
        );
        assert_eq!(
            faults("queue: { max_length: x }"),
            "pools[0].queue.max_length: invalid type: string \"x\", expected u32"
        );
        assert_eq!(
            faults("sharing: per-tab"),
            "pools[0].sharing: unknown variant `per-tab`, expected `per-connection` or `per-document`"
        );
    }
}
