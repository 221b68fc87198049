//! Sessions that outlive their streams.

use super::*;

const AFTER_CLOSE: Duration = Duration::from_secs(60);
const UNOPENED: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn lingering(probe_counts_lingering: bool) -> Arc<EngineAccounting> {
    let lifetime = SessionLifetime {
        after_close: AFTER_CLOSE,
        unopened: UNOPENED,
        probe_counts_lingering,
    };
    Arc::new(EngineAccounting::with_lifetime(TTL, lifetime))
}

fn sessions(accounting: &EngineAccounting, now: Instant) -> (u32, u32) {
    let snapshot = accounting.snapshot(now);
    (snapshot.sessions(Some(0)), snapshot.sessions(None))
}

#[test]
fn a_socket_that_opens_and_closes_between_two_probes_counts_for_the_lifetime_of_its_session() {
    for counts_lingering in [true, false] {
        let accounting = lingering(counts_lingering);
        let now = Instant::now();
        accounting.apply_probed_sessions(now, 0);
        for name in ["a", "b"] {
            accounting.reserve(1).placed(name, now);
            accounting.opened(name, "r", now);
            assert!(accounting.closed(name, MS, now + SECOND));
        }
        assert_eq!(sessions(&accounting, now + SECOND), (2, 2));
        assert_eq!(accounting.snapshot(now + SECOND).open, 0);
        // The next probe counts them, or does not.
        let probed = if counts_lingering { 2 } else { 0 };
        accounting.apply_probed_sessions(now + 2 * SECOND, probed);
        assert_eq!(sessions(&accounting, now + 2 * SECOND), (2, 2));
        let end = now + SECOND + AFTER_CLOSE;
        assert_eq!(sessions(&accounting, end - MS), (2, 2));
        assert_eq!(sessions(&accounting, end), (0, 0));
        assert!(accounting.is_empty());
        accounting.apply_probed_sessions(end + MS, 0);
        assert_eq!(sessions(&accounting, end + MS), (0, 0));
    }
}

#[test]
fn a_stream_that_joins_a_session_counts_no_further_one() {
    for counts_lingering in [true, false] {
        let accounting = lingering(counts_lingering);
        let now = Instant::now();
        let session = accounting.reserve(1).placed("first", now);
        accounting.opened("first", "r", now);
        let probed = now + SECOND;
        accounting.apply_probed_sessions(probed, 1);
        accounting.closed("first", SECOND, probed + MS);
        let returned = probed + SECOND;
        let reservation = session.join(returned).unwrap();
        assert_eq!(session.status(returned), EngineSessionStatus::InUse);
        assert_eq!(sessions(&accounting, returned), (1, 1));
        assert_eq!(reservation.placed("second", returned), session);
        accounting.opened("second", "r", returned);
        let shared = session.join(returned).unwrap();
        shared.placed("third", returned);
        accounting.opened("third", "r", returned);
        assert_eq!(sessions(&accounting, returned), (1, 1));
        assert_eq!(accounting.snapshot(returned).open, 2);
        accounting.apply_probed_sessions(returned + SECOND, 1);
        accounting.closed("second", MS, returned + SECOND);
        assert_eq!(
            session.status(returned + SECOND),
            EngineSessionStatus::InUse
        );
        assert_eq!(sessions(&accounting, returned + SECOND), (1, 1));
        accounting.closed("third", MS, returned + 2 * SECOND);
        let until = returned + 2 * SECOND + AFTER_CLOSE;
        assert_eq!(
            session.status(until - MS),
            EngineSessionStatus::Lingering { until }
        );
        assert_eq!(session.status(until), EngineSessionStatus::Ended);
        assert!(session.join(until).is_none());
    }
}

#[test]
fn an_abandoned_return_leaves_the_session_as_it_was() {
    let accounting = lingering(true);
    let now = Instant::now();
    let session = accounting.reserve(1).placed("a", now);
    accounting.opened("a", "r", now);
    accounting.closed("a", SECOND, now + SECOND);
    let before = session.status(now + 2 * SECOND);
    drop(session.join(now + 2 * SECOND));
    assert_eq!(session.status(now + 2 * SECOND), before);
    assert_eq!(sessions(&accounting, now + 2 * SECOND), (1, 1));
}

#[test]
fn a_session_whose_client_never_came_counts_for_its_own_lifetime() {
    let accounting = lingering(true);
    let now = Instant::now();
    accounting.reserve(1).placed("released", now);
    accounting.closed("released", Duration::ZERO, now + SECOND);
    assert_eq!(sessions(&accounting, now + UNOPENED), (1, 1));
    assert_eq!(sessions(&accounting, now + SECOND + UNOPENED), (0, 0));
    let placed = now + 2 * UNOPENED;
    accounting.reserve(1).placed("lost", placed);
    assert_eq!(sessions(&accounting, placed + TTL - MS), (1, 1));
    assert_eq!(sessions(&accounting, placed + TTL), (0, 0));
}

#[test]
fn a_session_that_was_ended_on_its_engine_frees_its_capacity_at_once() {
    for counts_lingering in [true, false] {
        let accounting = lingering(counts_lingering);
        let now = Instant::now();
        let session = accounting.reserve(1).placed("a", now);
        accounting.opened("a", "r", now);
        accounting.apply_probed_sessions(now + SECOND, 1);
        accounting.closed("a", SECOND, now + SECOND + MS);
        session.end(now + 2 * SECOND);
        let snapshot = accounting.snapshot(now + 2 * SECOND);
        assert_eq!((snapshot.sessions(Some(1)), snapshot.own), (0, 0));
        // With a stream it ends when that closes.
        let session = accounting.reserve(1).placed("b", now + 2 * SECOND);
        accounting.opened("b", "r", now + 2 * SECOND);
        session.end(now + 3 * SECOND);
        assert!(session.join(now + 3 * SECOND).is_none());
        assert_eq!(accounting.snapshot(now + 3 * SECOND).own, 1);
        accounting.closed("b", SECOND, now + 4 * SECOND);
        assert_eq!(accounting.snapshot(now + 4 * SECOND).own, 0);
    }
}

#[test]
fn the_memory_of_a_session_without_a_stream_counts_until_a_probe_shows_it() {
    let accounting = lingering(false);
    let now = Instant::now();
    let key = CostKey {
        document: Some(1),
        document_loaded: false,
    };
    let cost = Cost {
        memory_mb: 100.0,
        cpu: 0.1,
    };
    let costs = Arc::new(PoolCosts::default());
    costs.observe(&[Observation { key, cost }]);
    accounting.subscribe(&Arc::default(), 0, &costs);
    accounting.reserve_for(1, key).placed("a", now);
    accounting.opened("a", "r", now);
    accounting.closed("a", MS, now + MS);
    assert_eq!(accounting.snapshot(now + MS).pending_cost, cost);
    accounting.apply_probed_sessions(now + SECOND, 0);
    let snapshot = accounting.snapshot(now + SECOND);
    assert_eq!(snapshot.pending_cost, Cost::default());
}
