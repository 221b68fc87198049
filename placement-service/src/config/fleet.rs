//! Settings of engine probes and of placement.

use super::fault_collector::{FaultCollector, SECOND};
use super::ledger;
use super::{Config, Ledger};
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Consecutive failures that make an engine unhealthy.
    pub failures: u32,
    /// Consecutive successes that make it healthy again.
    pub successes: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    /// Deadline of a placement, all attempts included.
    #[serde(with = "humantime_serde")]
    pub deadline: Duration,
    /// Maximum number of engines tried.
    pub attempts: u32,
    /// How long an engine may take to accept a connection and send its first response.
    #[serde(with = "humantime_serde")]
    pub engine_timeout: Duration,
    /// How long a reservation counts if no probe confirms it.
    #[serde(with = "humantime_serde")]
    pub reservation_ttl: Duration,
    /// Maximum streams of one login session in one pool; 0: no limit.
    pub max_streams_per_session: u32,
    /// Maximum streams in one pool of the programs of one account whose tokens belong to no session; 0: no
    /// limit.
    pub max_streams_per_bearer: u32,
    /// Share of the decisions that are logged with their reasons, 0 to 1.
    pub log_decisions: f64,
    /// The ledger in which replicas count their placements.
    pub ledger: Ledger,
}

const TENTH_OF_A_SECOND: Duration = Duration::from_millis(100);

pub(super) fn check_probe(config: &Config, faults: &mut FaultCollector) {
    let probe = &config.probe;
    faults.check_range(
        "probe.interval",
        probe.interval,
        TENTH_OF_A_SECOND,
        3600 * SECOND,
    );
    faults.check_range(
        "probe.timeout",
        probe.timeout,
        Duration::from_millis(10),
        60 * SECOND,
    );
    faults.check_count("probe.failures", probe.failures, 1000);
    faults.check_count("probe.successes", probe.successes, 1000);
}

pub(super) fn check_placement(config: &Config, faults: &mut FaultCollector) {
    let placement = &config.placement;
    faults.check_range(
        "placement.deadline",
        placement.deadline,
        TENTH_OF_A_SECOND,
        120 * SECOND,
    );
    faults.check_count("placement.attempts", placement.attempts, 100);
    let engine_timeout = placement.engine_timeout;
    faults.check_range(
        "placement.engine_timeout",
        engine_timeout,
        Duration::from_millis(10),
        120 * SECOND,
    );
    if engine_timeout > placement.deadline {
        faults.add(
            "placement.engine_timeout",
            "must not be longer than placement.deadline",
        );
    }
    faults.check_range(
        "placement.reservation_ttl",
        placement.reservation_ttl,
        SECOND,
        3600 * SECOND,
    );
    if !(0.0..=1.0).contains(&placement.log_decisions) {
        faults.add("placement.log_decisions", "must be 0 to 1");
    }
    ledger::check(&placement.ledger, faults);
}

/// Nobody waits in a queue longer than a placement may take.
pub(super) fn check_queues(config: &Config, faults: &mut FaultCollector) {
    for (index, pool) in config.pools.iter().enumerate() {
        if pool.queue.max_length > 0 && pool.queue.timeout > config.placement.deadline {
            let path = format!("pools[{index}].queue.timeout");
            faults.add(path, "must not be longer than placement.deadline");
        }
    }
}
