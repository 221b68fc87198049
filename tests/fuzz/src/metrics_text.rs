//! An engine's metrics page: a finite number or none, and none without the family's name.
use berth_placement::engines::health::metrics_text::gauge;

const FAMILY: &str = "qix_active_sessions";

/// One input.
pub(crate) fn run(data: &[u8]) {
    if let Some(value) = gauge(data, FAMILY) {
        assert!(value.is_finite());
        assert!(data.windows(FAMILY.len()).any(|w| w == FAMILY.as_bytes()));
    }
}
