//! The placement service's answers to reports and polls: for any answer the gateway goes on, repeats its requests, and
//! resets only streams that it has.
use berth_filter::feed::Settings;
use berth_filter::gateway::Gateway;
use berth_filter::placement::Placed;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let settings = Settings {
        hold_ms: 5_000,
        lost_after_ms: 10_000,
    };
    let mut gateway = Gateway::new(1, settings, 500);
    for id in 0..3 {
        let placed = Placed {
            stream: format!("s{id}"),
            session_ref: "k1Jt0yqSxv2P".to_owned(),
            pool: "qix".to_owned(),
            engine: "engine-0".to_owned(),
            reason: String::new(),
            session_expires_at: u64::MAX,
            max_age: None,
        };
        gateway.open(id, placed, 0, 0.5);
    }
    let mut now = 0;
    for _ in 0..50 {
        now += 1_000;
        let due = gateway.begin_tick(now);
        assert!(due.resets.iter().all(|id| *id < 3));
        let work = gateway.work(now);
        if work.poll.is_some() {
            let _ = gateway.on_poll(Some(data), now, 0.5);
        }
        if work.report.is_some() {
            let _ = gateway.on_report(Some(data), now);
        }
    }
}
