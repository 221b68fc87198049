//! The metrics page of an engine: a value is finite, and there is none without the name of the family.
use berth_placement::engines::health::metrics_text::sum_gauge;

const FAMILY: &str = "qix_active_sessions";

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Some(value) = sum_gauge(data, FAMILY) {
        assert!(value.is_finite());
        assert!(data.windows(FAMILY.len()).any(|w| w == FAMILY.as_bytes()));
    }
}
