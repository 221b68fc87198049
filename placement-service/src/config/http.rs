//! Limits on the clients of all listeners: connections and time.

use super::Config;
use super::fault_collector::{FaultCollector, SECOND};
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Maximum connections of all listeners together; fewer if the limit of open files of the process is too
    /// low.
    pub max_connections: u32,
    /// Timeout for the first byte, for the head and for the body of a request, each.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let http = &config.http;
    faults.check_count("http.max_connections", http.max_connections, 1_000_000);
    let (path, timeout) = ("http.request_timeout", http.request_timeout);
    faults.check_range(path, timeout, SECOND / 10, 600 * SECOND);
}

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    #[test]
    fn values_out_of_range_are_faults() {
        let faults = from_text("http: { max_connections: 0, request_timeout: 1ms }").unwrap_err();
        assert_eq!(
            faults.to_string(),
            "http.max_connections: must be 1 to 1000000, not 0\n\
             http.request_timeout: must be 100ms to 10m, not 1ms"
        );
    }
}
