//! Responses of the placement service to reports and polls: whatever they contain, the gateway continues to poll and
//! resets only streams that it has.
use berth_filter_core::control::Gateway;
use berth_filter_core::control::events::Settings;
use berth_filter_core::control::identity::Identity;
use berth_filter_core::streams::PlacedStream;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let settings = Settings {
        poll_timeout_ms: 5_000,
        stale_after_ms: 10_000,
    };
    let mut gateway = Gateway::new(1, Identity::default(), settings, 500);
    for id in 0..3 {
        let placed = PlacedStream {
            stream: format!("s{id}"),
            session_ref: "k1Jt0yqSxv2P".to_owned(),
            pool: "qix".to_owned(),
            engine: "engine-0".to_owned(),
            reason: String::new(),
            session_expires_at: u64::MAX,
            max_age: None,
            key: None,
            counts_activity: true,
        };
        gateway.open(id, placed, 0, 0.5);
    }
    let mut now = 0;
    for _ in 0..50 {
        now += 1_000;
        let due = gateway.begin_tick(now);
        assert!(due.resets.iter().all(|id| *id < 3));
        let actions = gateway.tick_actions(now);
        if actions.poll.is_some() {
            let _ = gateway.on_poll(Some(data), now, 0.5);
        }
        if actions.report.is_some() {
            let _ = gateway.on_report(Some(data), now);
        }
    }
}
