//! StreamReporter of gateways: an accepted report is bounded in number and length, and printable.
use berth_api::{GatewayReport, MAX_GATEWAY_NAME, MAX_POLL_TIMEOUT_MS, MAX_REPORT_ENTRIES};
use berth_placement::gateways::checked;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    // The first line is the name of the gateway, the rest is the report.
    let end = data.iter().position(|byte| *byte == b'\n');
    let (name, body) = data.split_at(end.map_or(0, |end| end + 1));
    let Ok(name) = std::str::from_utf8(name) else {
        return;
    };
    let name = name.trim_end_matches('\n');
    let Ok(report) = serde_json::from_slice::<GatewayReport>(body) else {
        return;
    };
    let Ok(place) = checked(name, &report) else {
        return;
    };
    assert!((1..=MAX_GATEWAY_NAME).contains(&name.len()));
    assert!(report.sequence > 0 && report.poll_timeout_ms <= MAX_POLL_TIMEOUT_MS);
    let lists = [
        report.opened.len(),
        report.active.len(),
        report.closed.len(),
    ];
    assert!(lists.iter().all(|count| *count <= MAX_REPORT_ENTRIES));
    for stream in &report.opened {
        assert!(stream.stream.len() <= 64 && stream.session_ref.len() <= 64);
        assert!(
            !stream
                .engine
                .chars()
                .chain(stream.pool.chars())
                .any(char::is_control)
        );
    }
    assert_eq!(place.map(|place| place.to_string()), report.cursor);
}
