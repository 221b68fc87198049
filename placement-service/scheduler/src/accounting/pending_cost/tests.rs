//! What probes teach, and that nothing is left afterwards.

use super::*;
use crate::engine::load::Memory;

fn load(sessions: u32, committed_mb: f64, cpu: f64) -> Load {
    Load {
        sessions: Some(sessions),
        memory: Some(Memory {
            committed: committed_mb,
            free: 10_000.0,
        }),
        cpu: Some(cpu),
        ..Load::default()
    }
}

fn key(document: u64, document_loaded: bool) -> CostKey {
    CostKey {
        document: Some(document),
        document_loaded,
    }
}

#[test]
fn the_observed_cost_of_a_document_is_the_next_estimate() {
    let mut pending = PendingCost::default();
    pending.apply_probe(&[], &load(0, 1000.0, 0.1));
    let first = pending.estimate(key(1, false), Cost::default);
    assert_eq!(first.cost, Cost::default(), "nothing is known yet");
    let observations = pending.apply_probe(&[first], &load(1, 1500.0, 0.2));
    assert_eq!(observations.len(), 1, "the pool gets it, too");
    let next = pending.estimate(key(1, false), Cost::default).cost;
    let deviation = (next.memory_mb - 500.0).abs() + (next.cpu - 0.1).abs();
    assert!(deviation < 1e-6, "{next:?}");
    let in_pool = Cost {
        memory_mb: 7.0,
        cpu: 0.0,
    };
    let held_cost = pending.estimate(key(1, true), || in_pool).cost;
    assert_eq!(held_cost, in_pool, "held, it costs something else");
}

#[test]
fn counts_from_the_decision_until_a_probe() {
    let mut pending = PendingCost::default();
    let cost = Cost {
        memory_mb: 100.0,
        cpu: 0.1,
    };
    let expected = pending.estimate(key(1, false), || cost);
    pending.begin(&expected);
    assert_eq!(pending.cost(), cost);
    pending.placed(&expected);
    pending.end(&expected);
    assert_eq!(pending.cost(), cost);
    pending.remove(&expected, true);
    assert_eq!(pending.cost(), Cost::default());
}

#[test]
fn cpu_noise_is_smoothed_and_a_jump_is_not() {
    let mut pending = PendingCost::default();
    pending.apply_probe(&[], &load(5, 1000.0, 0.4));
    pending.apply_probe(&[], &load(5, 1000.0, 0.5));
    let cpu = pending.smooth_cpu().unwrap();
    assert!((0.4..0.45).contains(&cpu), "{cpu}");
    pending.apply_probe(&[], &load(5, 1000.0, 0.9));
    assert_eq!(pending.smooth_cpu(), Some(0.9));
}

#[test]
fn a_closed_session_lowers_the_expected_cpu() {
    let mut pending = PendingCost::default();
    pending.apply_probe(&[], &load(0, 1000.0, 0.1));
    let estimate = pending.estimate(key(1, true), Cost::default);
    pending.apply_probe(&[estimate], &load(1, 1000.0, 0.3));
    pending.apply_probe(&[], &load(0, 1000.0, 0.1));
    let (cpu, smoothed_alone) = (pending.smooth_cpu().unwrap(), 0.16 + 0.7 * (0.1 - 0.16));
    assert!(cpu < smoothed_alone, "{cpu}");
}
