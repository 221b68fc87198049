//! Random histories, and the cases worth reading.

use super::*;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(30);

fn reserved(tally: &Tally, now: Instant) -> u32 {
    tally.standing(now).reserved
}

#[test]
fn counts_from_the_choice_on_and_is_given_back_when_dropped() {
    let tally = Arc::new(Tally::new(TTL));
    let now = Instant::now();
    let first = tally.reserve(1);
    let second = tally.reserve(2);
    assert_eq!(reserved(&tally, now), 2);
    drop(first);
    assert_eq!(reserved(&tally, now), 1);
    second.placed(now);
    assert_eq!(reserved(&tally, now), 1);
}

#[test]
fn a_settled_placement_is_confirmed_by_the_next_probe() {
    let tally = Arc::new(Tally::new(TTL));
    let now = Instant::now();
    tally.reserve(1).placed(now);
    tally.probed(now + SETTLE - MS, 0);
    assert_eq!(reserved(&tally, now + SETTLE), 1, "too early to tell");
    tally.probed(now + SETTLE, 0);
    assert_eq!(reserved(&tally, now + SETTLE), 0);
}

#[test]
fn a_probe_from_before_the_placement_confirms_nothing() {
    let tally = Arc::new(Tally::new(TTL));
    let now = Instant::now();
    tally.reserve(1).placed(now + MS);
    tally.probed(now, 7);
    assert_eq!(reserved(&tally, now + MS), 1);
}

#[test]
fn a_burst_just_before_a_probe_is_not_counted_twice() {
    let tally = Arc::new(Tally::new(TTL));
    let now = Instant::now();
    tally.probed(now, 10);
    for _ in 0..60 {
        tally.reserve(1).placed(now + 100 * MS);
    }
    tally.probed(now + 200 * MS, 50);
    assert_eq!(reserved(&tally, now + 200 * MS), 20, "40 of 60 have shown");
}

#[test]
fn an_unconfirmed_placement_lapses() {
    let tally = Arc::new(Tally::new(TTL));
    let now = Instant::now();
    tally.reserve(1).placed(now);
    assert_eq!(reserved(&tally, now + TTL - MS), 1);
    assert_eq!(reserved(&tally, now + TTL), 0);
}

#[test]
fn a_trial_given_up_leaves_the_next_one_due() {
    let tally = Arc::new(Tally::new(TTL));
    let now = Instant::now();
    assert!(
        tally.begin_trial(now).is_none(),
        "nothing is held against it"
    );
    tally.failed(now, now);
    let later = now + Duration::from_secs(1);
    let trial = tally.begin_trial(later);
    assert!(trial.is_some());
    assert!(tally.begin_trial(later).is_none());
    drop(trial);
    assert!(tally.begin_trial(later).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Reserve,
    Place(usize),
    GiveUp(usize),
    Probe { ago_ms: u64, sessions: u32 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Reserve),
        any::<usize>().prop_map(Step::Place),
        any::<usize>().prop_map(Step::GiveUp),
        (0..3000_u64, 0..50_u32).prop_map(|(ago_ms, sessions)| Step::Probe { ago_ms, sessions }),
        (0..5000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// Whatever happens: never fewer than the handles alive, never more than were ever reserved, and
    /// nothing is left once all handles are gone and the time is over.
    #[test]
    fn random_histories_neither_leak_nor_go_negative(steps in prop::collection::vec(step(), 0..200)) {
        let tally = Arc::new(Tally::new(TTL));
        let mut now = Instant::now() + Duration::from_secs(10);
        let mut handles = Vec::new();
        let mut placed = 0_usize;
        for step in steps {
            let before = reserved(&tally, now);
            match step {
                Step::Reserve => {
                    handles.push(tally.reserve(0));
                    prop_assert_eq!(reserved(&tally, now), before + 1);
                }
                Step::Place(n) if !handles.is_empty() => {
                    handles.swap_remove(n % handles.len()).placed(now);
                    placed += 1;
                    prop_assert_eq!(reserved(&tally, now), before);
                }
                Step::GiveUp(n) if !handles.is_empty() => {
                    drop(handles.swap_remove(n % handles.len()));
                    prop_assert_eq!(reserved(&tally, now), before - 1);
                }
                Step::Probe { ago_ms, sessions } => {
                    tally.probed(now - Duration::from_millis(ago_ms), sessions);
                    prop_assert!(reserved(&tally, now) <= before);
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Place(_) | Step::GiveUp(_) => {}
            }
            let count = reserved(&tally, now) as usize;
            prop_assert!(count >= handles.len() && count <= handles.len() + placed);
        }
        handles.clear();
        prop_assert_eq!(reserved(&tally, now + TTL), 0);
    }
}
