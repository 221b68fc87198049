//! Typical cases.

use super::*;
use crate::cost::{Cost, Observation};

mod histories;
mod lifetimes;

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(30);

fn reserved(accounting: &EngineAccounting, now: Instant) -> u32 {
    accounting.snapshot(now).reserved
}

#[test]
fn a_reservation_counts_until_it_is_dropped() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    let first = accounting.reserve(1);
    let second = accounting.reserve(2);
    assert_eq!(reserved(&accounting, now), 2);
    drop(first);
    assert_eq!(reserved(&accounting, now), 1);
    second.placed("b", now);
    assert_eq!(reserved(&accounting, now), 1);
}

#[test]
fn a_settled_placement_is_confirmed_by_the_next_probe() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    accounting.reserve(1).placed("a", now);
    accounting.apply_probed_sessions(now + SETTLE - MS, 0);
    assert_eq!(reserved(&accounting, now + SETTLE), 1, "too early");
    accounting.apply_probed_sessions(now + SETTLE, 0);
    assert_eq!(reserved(&accounting, now + SETTLE), 0);
}

#[test]
fn a_probe_from_before_the_placement_confirms_nothing() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    accounting.reserve(1).placed("a", now + MS);
    accounting.apply_probed_sessions(now, 7);
    assert_eq!(reserved(&accounting, now + MS), 1);
}

#[test]
fn a_burst_just_before_a_probe_is_not_counted_twice() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    accounting.apply_probed_sessions(now, 10);
    for n in 0..60_u64 {
        accounting.reserve(1).placed(&n.to_string(), now + 100 * MS);
    }
    accounting.apply_probed_sessions(now + 200 * MS, 50);
    assert_eq!(
        reserved(&accounting, now + 200 * MS),
        20,
        "40 of 60 have shown"
    );
}

#[test]
fn an_unconfirmed_placement_expires() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    accounting.reserve(1).placed("a", now);
    assert_eq!(reserved(&accounting, now + TTL - MS), 1);
    assert_eq!(reserved(&accounting, now + TTL), 0);
}

#[test]
fn an_abandoned_trial_leaves_the_next_one_due() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    assert!(
        accounting.begin_trial(now).is_none(),
        "the circuit breaker is closed"
    );
    accounting.record_failure(now, now);
    let later = now + Duration::from_secs(1);
    let trial = accounting.begin_trial(later);
    assert!(trial.is_some());
    assert!(accounting.begin_trial(later).is_none());
    drop(trial);
    assert!(accounting.begin_trial(later).is_some());
}

#[test]
fn a_stream_that_is_reported_open_counts_until_it_closes() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    accounting.reserve(1).placed("a", now);
    accounting.reserve(1).placed("b", now);
    accounting.opened("a", "r", now + MS);
    let counts = |at| (accounting.snapshot(at).own, accounting.snapshot(at).open);
    assert_eq!(counts(now + MS), (2, 1));
    assert_eq!(counts(now + TTL), (1, 1), "b was never reported");
    assert_eq!(counts(now + 100 * TTL), (1, 1));
    accounting.closed("a", 100 * TTL, now + 100 * TTL);
    accounting.closed("a", 100 * TTL, now + 100 * TTL);
    assert_eq!(counts(now + 100 * TTL), (0, 0));
    assert_eq!(reserved(&accounting, now + 100 * TTL), 0);
}

#[test]
fn a_stream_that_closes_after_a_probe_is_subtracted_from_its_count() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    let sessions = |probed, at| accounting.snapshot(at).sessions(Some(probed));
    for name in ["a", "b"] {
        accounting.reserve(1).placed(name, now);
        accounting.opened(name, "r", now);
    }
    assert_eq!(sessions(0, now), 2);
    accounting.apply_probed_sessions(now + SETTLE, 5);
    assert_eq!(
        sessions(5, now + SETTLE),
        5,
        "three belong to another process"
    );
    accounting.closed("a", SETTLE + MS, now + SETTLE + MS);
    assert_eq!(sessions(5, now + SETTLE + MS), 4);
    accounting.reserve(1).placed("c", now + SETTLE + 2 * MS);
    accounting.closed("c", MS, now + SETTLE + 3 * MS);
    assert_eq!(sessions(5, now + SETTLE + 3 * MS), 4, "no probe has seen c");
    accounting.apply_probed_sessions(now + SETTLE + 4 * MS, 4);
    assert_eq!(sessions(4, now + SETTLE + 4 * MS), 4);
}

#[test]
fn a_close_that_may_precede_the_probe_is_not_subtracted_from_its_count() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    let sessions = |at| accounting.snapshot(at).sessions(Some(0));
    for name in ["before", "unknown", "after"] {
        accounting.reserve(1).placed(name, now);
        accounting.opened(name, "r", now);
    }
    let probe = now + 10 * SETTLE;
    // One has just closed, and its gateway has not reported it yet.
    accounting.apply_probed_sessions(probe, 2);
    let reported = probe + SETTLE;
    accounting.closed("before", 10 * SETTLE - MS, reported);
    assert_eq!(sessions(reported), 2, "the probe did not see it any more");
    accounting.closed("unknown", Duration::ZERO, reported);
    assert_eq!(sessions(reported), 2, "it may be the one");
    accounting.closed("after", 10 * SETTLE + MS, reported);
    assert_eq!(sessions(reported), 1);
    accounting.apply_probed_sessions(reported, 0);
    assert_eq!(sessions(reported), 0);
}

#[test]
fn a_probe_amid_closings_and_openings_counts_no_session_twice() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    for name in ["old-1", "old-2", "old-3"] {
        accounting.reserve(1).placed(name, now);
        accounting.opened(name, "r", now);
    }
    accounting.apply_probed_sessions(now + SETTLE, 3);
    // Two clients reconnect: their old streams close before the probe, which is reported after it.
    let probe = now + 4 * SETTLE;
    for name in ["new-1", "new-2"] {
        accounting.reserve(1).placed(name, probe - MS);
    }
    accounting.apply_probed_sessions(probe, 3);
    let reported = probe + SETTLE;
    for name in ["old-1", "old-2"] {
        accounting.closed(name, 4 * SETTLE - 2 * MS, reported);
    }
    assert_eq!(accounting.snapshot(reported).sessions(Some(3)), 3);
    // A third one had closed, too: the probe of two shows it before its report.
    accounting.apply_probed_sessions(reported, 2);
    accounting.closed("old-3", SETTLE, reported + SETTLE);
    assert_eq!(accounting.snapshot(reported + SETTLE).sessions(Some(2)), 2);
}

#[test]
fn a_close_reported_during_a_probe_does_not_hide_a_placement() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    let sessions = |at| accounting.snapshot(at).sessions(Some(0));
    accounting.reserve(1).placed("old", now);
    accounting.opened("old", "r", now);
    accounting.apply_probed_sessions(now + SETTLE, 1);
    let probe = now + 2 * SETTLE;
    accounting.reserve(1).placed("new", probe - MS);
    // It closed shortly before or after the probe began. The probe saw it, and not the new one.
    accounting.closed("old", Duration::from_secs(1) - MS, probe + MS);
    accounting.apply_probed_sessions(probe, 1);
    let after = probe + 2 * MS;
    assert!(sessions(after) >= 1, "the new one counts");
    assert_eq!(reserved(&accounting, after), 1);
}

#[test]
fn a_stream_of_another_process_counts_unless_the_probe_has_seen_it() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now() + 10 * SETTLE;
    accounting.apply_probed_sessions(now, 1);
    accounting.opened("old", "r", now - SETTLE);
    accounting.opened("new", "r", now);
    let snapshot = accounting.snapshot(now);
    assert_eq!((snapshot.sessions(Some(1)), snapshot.own), (2, 2));
}

#[test]
fn the_estimated_cost_counts_with_its_stream() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    let key = CostKey {
        document: Some(1),
        document_loaded: false,
    };
    let cost = Cost {
        memory_mb: 100.0,
        cpu: 0.1,
    };
    let pending = |at| accounting.snapshot(at).pending_cost;
    let costs = Arc::new(PoolCosts::default());
    costs.observe(&[Observation { key, cost }]);
    accounting.subscribe(&Arc::default(), 0, &costs);
    let reserve = || accounting.reserve_for(1, key);
    let abandoned = reserve();
    assert_eq!(pending(now), cost);
    drop(abandoned);
    assert_eq!(pending(now), Cost::default(), "abandoned");
    reserve().placed("a", now);
    assert_eq!(pending(now), cost);
    accounting.closed("a", Duration::ZERO, now);
    assert_eq!(pending(now), Cost::default(), "closed");
    reserve().placed("b", now);
    assert_eq!(pending(now + TTL), Cost::default(), "expired");
    reserve().placed("c", now + TTL);
    accounting.opened("c", "r", now + TTL);
    assert_eq!(pending(now + 3 * TTL), cost, "open, and not seen");
    accounting.apply_probed_sessions(now + 3 * TTL, 1);
    assert_eq!(pending(now + 3 * TTL), Cost::default(), "seen");
}

#[test]
fn each_change_marks_the_engine_once_until_the_scheduler_reads_it() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    let dirty = Arc::new(DirtySet::default());
    accounting.subscribe(&dirty, 7, &Arc::default());
    accounting.reserve(1).placed("a", now);
    accounting.closed("a", Duration::ZERO, now);
    assert_eq!(dirty.take(), [7]);
    accounting.apply_probed_sessions(now, 3);
    assert_eq!(dirty.take(), [], "not read since");
    let _ = accounting.read(now);
    accounting.apply_probed_sessions(now, 3);
    assert_eq!(dirty.take(), [7]);
    let _ = accounting.snapshot(now);
    assert!(accounting.record_failure(now, now));
    assert_eq!(dirty.take(), [], "operators do not count");
    let _ = accounting.read(now);
    assert!(accounting.record_success());
    assert_eq!(dirty.take(), [7]);
}

#[test]
fn sessions_of_other_replicas_count_until_a_probe_has_seen_them() {
    let accounting = Arc::new(EngineAccounting::new(TTL));
    let now = Instant::now();
    accounting.set_remote_sessions(4, now);
    assert_eq!(accounting.snapshot(now).sessions(None), 4);
    assert_eq!(accounting.snapshot(now).sessions(Some(10)), 14);
    accounting.reserve(1).placed("a", now);
    // The probe has seen the remote sessions and the own one.
    accounting.apply_probed_sessions(now + 2 * SETTLE, 15);
    assert_eq!(accounting.snapshot(now).sessions(Some(15)), 15);
    // The own stream moves to another replica: it is still one.
    accounting.set_remote_sessions(5, now + 2 * SETTLE);
    accounting.transferred("a");
    assert_eq!(accounting.snapshot(now).sessions(Some(15)), 15);
    assert_eq!(accounting.snapshot(now).sessions(None), 5);
    accounting.transferred("a");
    assert_eq!(accounting.snapshot(now).sessions(None), 5);
}

#[test]
fn a_stream_counts_for_its_session_as_long_as_it_counts_on_the_engine() {
    let (accounting, now) = (Arc::new(EngineAccounting::new(TTL)), Instant::now());
    let count = || accounting.streams.count("r").0;
    let place_stream = |name: &str| {
        let mut handle = accounting.reserve(1);
        handle.attach_slot(accounting.streams.acquire("r").unwrap());
        handle.placed(name, now);
    };
    // Transferred to another replica; closed; expired; the same name twice; opened without a placement.
    for name in ["moved", "closed", "lapsed", "closed"] {
        place_stream(name);
    }
    assert_eq!(count(), 3);
    accounting.opened("foreign", "r", now);
    accounting.opened("closed", "r", now);
    assert_eq!(count(), 4);
    accounting.transferred("moved");
    accounting.closed("closed", Duration::ZERO, now);
    accounting.closed("closed", Duration::ZERO, now);
    assert_eq!(count(), 2);
    accounting.expire(now + TTL);
    assert_eq!(count(), 1);
    accounting.closed("foreign", Duration::ZERO, now);
    assert_eq!(count(), 0);
    // Abandoned reservations.
    let mut handle = accounting.reserve(1);
    handle.attach_slot(accounting.streams.acquire("r").unwrap());
    assert_eq!(count(), 1);
    drop(handle);
    assert_eq!(count(), 0);
}
