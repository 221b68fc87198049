//! What is learned, and that nothing is left.

use super::*;
use crate::engine::Memory;
use proptest::prelude::*;

const TTL: Duration = Duration::from_secs(30);
const S: Duration = Duration::from_secs(1);

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
    let now = Instant::now();
    coming.measured(now, &load(0, 1000.0, 0.1));
    let first = coming.expect(kind(1, false), Cost::default());
    assert_eq!(first.cost, Cost::default(), "nothing is known yet");
    coming.placed(now, first);
    let lessons = coming.measured(now + S, &load(1, 1500.0, 0.2));
    assert_eq!(lessons.len(), 1, "the pool learns, too");
    let next = coming.expect(kind(1, false), Cost::default()).cost;
    assert!(
        (next.memory_mb - 500.0).abs() < 1e-6 && (next.cpu - 0.1).abs() < 1e-6,
        "{next:?}"
    );
    let guess = Cost {
        memory_mb: 7.0,
        cpu: 0.0,
    };
    assert_eq!(
        coming.expect(kind(1, true), guess).cost,
        guess,
        "held, it costs something else"
    );
}

#[test]
fn counts_until_a_probe_has_seen_it() {
    let mut coming = Coming::default();
    let now = Instant::now();
    let cost = Cost {
        memory_mb: 100.0,
        cpu: 0.1,
    };
    let expected = coming.expect(kind(1, false), cost);
    coming.begin(&expected);
    assert_eq!(coming.cost(), cost);
    coming.placed(now, expected);
    coming.end(&expected);
    assert_eq!(coming.cost(), cost);
    coming.measured(now, &load(0, 1000.0, 0.1));
    assert_eq!(coming.cost(), cost, "too early to tell");
    coming.measured(now + S, &load(1, 1100.0, 0.2));
    assert_eq!(coming.cost(), Cost::default());
}

#[test]
fn noise_in_the_cpu_is_smoothed_and_news_is_taken_at_once() {
    let mut coming = Coming::default();
    let now = Instant::now();
    coming.measured(now, &load(5, 1000.0, 0.4));
    coming.measured(now + S, &load(5, 1000.0, 0.5));
    let cpu = coming.cpu().unwrap();
    assert!((0.4..0.45).contains(&cpu), "{cpu}");
    coming.measured(now + 2 * S, &load(5, 1000.0, 0.9));
    assert_eq!(coming.cpu(), Some(0.9));
}

#[derive(Clone, Debug)]
enum Step {
    Begin(u64, bool),
    Place(usize),
    GiveUp(usize),
    Probe(u32, f64, f64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..40_u64, any::<bool>()).prop_map(|(d, held)| Step::Begin(d, held)),
        any::<usize>().prop_map(Step::Place),
        any::<usize>().prop_map(Step::GiveUp),
        (0..50_u32, 0.0..9000.0, 0.0..1.0).prop_map(|(s, mb, cpu)| Step::Probe(s, mb, cpu)),
        (0..5000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: never less than nothing, and exactly nothing once all handles are gone and the
    /// time is over.
    #[test]
    fn random_histories_do_not_leak(steps in prop::collection::vec(step(), 0..200)) {
        let mut coming = Coming::default();
        let mut now = Instant::now();
        let mut handles = Vec::new();
        let guess = Cost { memory_mb: 33.3, cpu: 0.011 };
        for step in steps {
            match step {
                Step::Begin(document, held) => {
                    let expected = coming.expect(kind(document, held), guess);
                    coming.begin(&expected);
                    handles.push(expected);
                }
                Step::Place(n) if !handles.is_empty() => {
                    let expected = handles.swap_remove(n % handles.len());
                    coming.placed(now, expected);
                    coming.end(&expected);
                }
                Step::GiveUp(n) if !handles.is_empty() => {
                    let expected = handles.swap_remove(n % handles.len());
                    coming.end(&expected);
                }
                Step::Probe(sessions, committed, cpu) => {
                    coming.measured(now, &load(sessions, committed, cpu));
                    prop_assert!(coming.cpu().is_some_and(|cpu| (0.0..=1.0).contains(&cpu)));
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Place(_) | Step::GiveUp(_) => {}
            }
            coming.lapse(TTL, now);
            let cost = coming.cost();
            prop_assert!(cost.memory_mb > -1e-6 && cost.cpu > -1e-6, "{cost:?}");
        }
        for expected in handles {
            coming.end(&expected);
        }
        coming.lapse(TTL, now + TTL);
        prop_assert_eq!(coming.cost(), Cost::default());
    }
}
