//! What is learned, and that nothing is left.

use super::*;
use crate::engine::load::Memory;

fn load(sessions: u32, committed: f64, cpu: f64) -> Load {
    Load {
        sessions: Some(sessions),
        memory: Some(Memory {
            committed,
            free: 10_000.0,
        }),
        cpu: Some(cpu),
        ..Load::default()
    }
}

fn kind(document: u64, held: bool) -> Kind {
    Kind {
        document: Some(document),
        held,
    }
}

#[test]
fn what_a_document_costs_to_load_is_expected_of_the_next_one() {
    let mut coming = Coming::default();
    coming.measured(&[], &load(0, 1000.0, 0.1));
    let first = coming.expect(kind(1, false), Cost::default);
    assert_eq!(first.cost, Cost::default(), "nothing is known yet");
    let lessons = coming.measured(&[first], &load(1, 1500.0, 0.2));
    assert_eq!(lessons.len(), 1, "the pool learns, too");
    let next = coming.expect(kind(1, false), Cost::default).cost;
    let off = (next.memory_mb - 500.0).abs() + (next.cpu - 0.1).abs();
    assert!(off < 1e-6, "{next:?}");
    let guess = Cost {
        memory_mb: 7.0,
        cpu: 0.0,
    };
    let held = coming.expect(kind(1, true), || guess).cost;
    assert_eq!(held, guess, "held, it costs something else");
}

#[test]
fn counts_from_the_choice_until_it_is_seen() {
    let mut coming = Coming::default();
    let cost = Cost {
        memory_mb: 100.0,
        cpu: 0.1,
    };
    let expected = coming.expect(kind(1, false), || cost);
    coming.begin(&expected);
    assert_eq!(coming.cost(), cost);
    coming.placed(&expected);
    coming.end(&expected);
    assert_eq!(coming.cost(), cost);
    coming.gone(&expected, true);
    assert_eq!(coming.cost(), Cost::default());
}

#[test]
fn noise_in_the_cpu_is_smoothed_and_news_is_taken_at_once() {
    let mut coming = Coming::default();
    coming.measured(&[], &load(5, 1000.0, 0.4));
    coming.measured(&[], &load(5, 1000.0, 0.5));
    let cpu = coming.smooth_cpu().unwrap();
    assert!((0.4..0.45).contains(&cpu), "{cpu}");
    coming.measured(&[], &load(5, 1000.0, 0.9));
    assert_eq!(coming.smooth_cpu(), Some(0.9));
}

#[test]
fn a_session_that_left_took_its_cpu_along() {
    let mut coming = Coming::default();
    coming.measured(&[], &load(0, 1000.0, 0.1));
    let one = coming.expect(kind(1, true), Cost::default);
    coming.measured(&[one], &load(1, 1000.0, 0.3));
    coming.measured(&[], &load(0, 1000.0, 0.1));
    let (cpu, smoothed_alone) = (coming.smooth_cpu().unwrap(), 0.16 + 0.7 * (0.1 - 0.16));
    assert!(cpu < smoothed_alone, "{cpu}");
}
