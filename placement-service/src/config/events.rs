//! The log of what happens to sessions.

use super::checks::{Faults, SECOND};
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// How often the log is looked at for what other replicas have added.
    #[serde(with = "humantime_serde")]
    pub poll: Duration,
    /// Entries of the log that are kept.
    pub retention: u32,
    /// For how long one of several replicas delivers webhooks without a sign of life: then another one does.
    #[serde(with = "humantime_serde")]
    pub lease: Duration,
}

pub(super) fn check(events: &Events, faults: &mut Faults) {
    let least = Duration::from_millis(10);
    faults.within("events.poll", events.poll, least, 10 * SECOND);
    faults.counts("events.retention", events.retention, 100_000_000);
    faults.within("events.lease", events.lease, 10 * least, 600 * SECOND);
}
