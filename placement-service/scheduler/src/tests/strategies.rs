//! Which engine each strategy prefers.

use super::*;

#[test]
fn four_hundred_on_four_equal_engines_spread_evenly() {
    for strategy in Strategy::ALL.into_iter().filter(|s| *s != Strategy::Packed) {
        let engines =
            fleet(["a", "b", "c", "d"].map(|name| running_engine(name, load(0, 800.0, 0.1))));
        let counts = spread(&chooser(strategy, Some(120)), &engines, 400);
        assert_eq!(counts.len(), 4, "{strategy:?}");
        for (name, count) in counts {
            assert!(count.abs_diff(100) <= 15, "{strategy:?} {name}: {count}");
        }
    }
}

#[test]
fn least_load_has_no_herd_on_the_engine_with_a_little_more_memory() {
    let engines = fleet([
        running_engine("a", load(0, 801.0, 0.1)),
        running_engine("b", load(0, 800.0, 0.1)),
        running_engine("c", load(0, 800.0, 0.2)),
    ]);
    for (name, count) in spread(&chooser(Strategy::LeastLoad, None), &engines, 300) {
        assert!((80..=120).contains(&count), "{name}: {count}");
    }
}

#[test]
fn least_load_weighs_memory_and_cpu() {
    let tight = running_engine("tight", load(50, 100.0, 0.9));
    let idle = running_engine("idle", load(50, 900.0, 0.1));
    let counts = spread(
        &chooser(Strategy::LeastLoad, None),
        &fleet([tight, idle]),
        30,
    );
    assert_eq!(counts.get("tight"), None, "{counts:?}");
}

#[test]
fn least_load_works_without_metrics() {
    let bare = engine("bare", State::NoMetrics, None);
    let full = running_engine("full", load(0, 900.0, 0.1));
    let counts = spread(
        &chooser(Strategy::LeastLoad, Some(50)),
        &fleet([bare, full]),
        60,
    );
    assert!(counts.values().all(|c| *c >= 10), "{counts:?}");
}

#[test]
fn weighted_is_proportional_to_the_room_left() {
    let engines = fleet([
        running_engine("a", load(9000, 500.0, 0.5)),
        running_engine("b", load(7000, 500.0, 0.5)),
    ]);
    let counts = spread(&chooser(Strategy::Weighted, Some(10_000)), &engines, 1000);
    assert!(counts["a"].abs_diff(250) < 45, "{counts:?}");
}

#[test]
fn round_robin_gives_a_returning_engine_one_turn_only() {
    let engines = fleet(["a", "b", "c"].map(|name| running_engine(name, Load::default())));
    let chooser = chooser(Strategy::RoundRobin, None);
    spread(&chooser, &fleet(engines[..2].to_vec()), 100);
    let counts = spread(&chooser, &engines, 30);
    assert!(counts.values().all(|c| *c == 10), "{counts:?}");
}

#[test]
fn ties_are_broken_at_random() {
    let engines = fleet(["a", "b", "c"].map(|name| running_engine(name, load(5, 500.0, 0.5))));
    let chooser = chooser(Strategy::LeastLoad, None);
    let mut counts: BTreeMap<_, _> = BTreeMap::new();
    for _ in 0..300 {
        let choice = chooser
            .select(&engines, &request_at(Instant::now()))
            .unwrap();
        *counts.entry(choice.engine.name.clone()).or_insert(0) += 1;
    }
    assert!(counts.values().all(|c| *c > 70), "{counts:?}");
}

#[test]
fn packed_fills_one_engine_after_the_other_in_the_order_of_numbers() {
    let engines =
        fleet(["e-10", "e-2", "e-9"].map(|name| running_engine(name, load(0, 800.0, 0.1))));
    let chooser = chooser(Strategy::Packed, Some(40));
    let counts = spread(&chooser, &engines, 50);
    assert_eq!(counts["e-2"], 40, "{counts:?}");
    assert_eq!(counts["e-9"], 10, "{counts:?}");
    let short = running_engine("e-1", load(0, 100.0, 0.1));
    let engines = fleet(engines.iter().cloned().chain([short]));
    let counts = spread(&chooser, &engines, 10);
    assert_eq!(counts["e-9"], 10, "e-1 runs short of memory: {counts:?}");
}

#[test]
fn an_engine_without_memory_metrics_gets_the_mean_score() {
    let now = Instant::now();
    let chooser = Scheduler::new(Rules::default(), Box::new(StdRng::seed_from_u64(3)));
    // All engines have ample memory; one does not report it and gets the same score, not half of it.
    let known = (0..9).map(|n| running_engine(&format!("e-{n}"), load(5, 900.0, 0.1)));
    let silent = running_engine("silent", Load::default());
    for n in 0..5 {
        silent.accounting.opened(&format!("s{n}"), "r", now);
    }
    let engines = fleet(known.chain([silent]));
    let why = chooser.explain(&engines, &request_at(now));
    let memory = |engine: &str| {
        let judged = why.engines.iter().find(|j| j.engine.as_str() == engine);
        let score = judged.unwrap().scores.iter().find(|s| s.name == "memory");
        score.unwrap().value
    };
    assert!((memory("silent") - memory("e-0")).abs() < 0.06);
}
