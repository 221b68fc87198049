//! An engine's metrics page: a finite number or none, and none without the family's name.
#![no_main]

use berth_placement::probe::metrics_text::gauge;
use libfuzzer_sys::fuzz_target;

const FAMILY: &str = "qix_active_sessions";

fuzz_target!(|data: &[u8]| {
    if let Some(value) = gauge(data, FAMILY) {
        assert!(value.is_finite());
        assert!(data.windows(FAMILY.len()).any(|w| w == FAMILY.as_bytes()));
    }
});
