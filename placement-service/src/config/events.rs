//! Settings of the session event log.

use super::Config;
use super::fault_collector::{FaultCollector, SECOND};
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// Interval at which the log is polled for entries of other replicas.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Number of entries that the log retains.
    pub retention: u32,
    /// One replica delivers webhooks. Another takes over when it has not renewed its lease for this long.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let events = &config.events;
    let min = Duration::from_millis(10);
    faults.check_range("events.poll", events.poll, min, 10 * SECOND);
    faults.check_count("events.retention", events.retention, 100_000_000);
    faults.check_range("events.lease", events.lease, 10 * min, 600 * SECOND);
}
