//! Each strategy on small fleets.

use super::*;
use crate::accounting::EngineAccounting;
use crate::engine::{Endpoint, Engine, EngineName, Load, Memory, State};
use crate::strategy::{Strategy, Weights};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

type Engines = Arc<[Arc<Engine>]>;

fn fleet(engines: impl IntoIterator<Item = Arc<Engine>>) -> Engines {
    engines.into_iter().collect()
}

fn ask(now: Instant) -> SchedulingRequest<'static> {
    SchedulingRequest {
        document: None,
        tried: &[],
        now,
    }
}

fn load(sessions: u32, free: f64, cpu: f64) -> Load {
    Load {
        sessions: Some(sessions),
        memory: Some(Memory {
            committed: 1000.0 - free,
            free,
        }),
        cpu: Some(cpu),
        ..Load::default()
    }
}

fn engine(name: &str, state: State, load: Option<Load>) -> Arc<Engine> {
    let endpoint = Endpoint {
        api: ([127, 0, 0, 1], 1).into(),
        metrics: None,
    };
    let tally = Arc::new(EngineAccounting::new(Duration::from_secs(30)));
    Arc::new(Engine {
        state,
        load: load.map(Arc::new),
        ..Engine::new(name.into(), endpoint, tally)
    })
}

fn up(name: &str, load: Load) -> Arc<Engine> {
    engine(name, State::Ok, Some(load))
}

fn chooser(strategy: Strategy, threshold: Option<u32>) -> Scheduler {
    let rules = Rules {
        strategy,
        per_engine: threshold,
        weights: Weights::default(),
        ..Rules::default()
    };
    Scheduler::new(rules, Box::new(StdRng::seed_from_u64(7)))
}

/// Places `count` sessions that stay.
fn spread(chooser: &Scheduler, engines: &Engines, count: u32) -> BTreeMap<String, u32> {
    let now = Instant::now();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..count {
        let choice = chooser.select(engines, &ask(now)).unwrap();
        let name = choice.engine.accounting.snapshot(now).own.to_string();
        choice.reservation.placed(&name, now);
        *counts.entry(choice.engine.name.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn four_hundred_on_four_equal_engines_spread_evenly() {
    for strategy in Strategy::ALL.into_iter().filter(|s| *s != Strategy::Packed) {
        let engines = fleet(["a", "b", "c", "d"].map(|name| up(name, load(0, 800.0, 0.1))));
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
        up("a", load(0, 801.0, 0.1)),
        up("b", load(0, 800.0, 0.1)),
        up("c", load(0, 800.0, 0.2)),
    ]);
    for (name, count) in spread(&chooser(Strategy::LeastLoad, None), &engines, 300) {
        assert!((80..=120).contains(&count), "{name}: {count}");
    }
}

#[test]
fn least_load_weighs_memory_and_cpu() {
    let tight = up("tight", load(50, 100.0, 0.9));
    let idle = up("idle", load(50, 900.0, 0.1));
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
    let full = up("full", load(0, 900.0, 0.1));
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
        up("a", load(9000, 500.0, 0.5)),
        up("b", load(7000, 500.0, 0.5)),
    ]);
    let counts = spread(&chooser(Strategy::Weighted, Some(10_000)), &engines, 1000);
    assert!(counts["a"].abs_diff(250) < 45, "{counts:?}");
}

#[test]
fn round_robin_gives_a_returning_engine_one_turn_only() {
    let engines = fleet(["a", "b", "c"].map(|name| up(name, Load::default())));
    let chooser = chooser(Strategy::RoundRobin, None);
    spread(&chooser, &fleet(engines[..2].to_vec()), 100);
    let counts = spread(&chooser, &engines, 30);
    assert!(counts.values().all(|c| *c == 10), "{counts:?}");
}

#[test]
fn ties_are_broken_at_random() {
    let engines = fleet(["a", "b", "c"].map(|name| up(name, load(5, 500.0, 0.5))));
    let chooser = chooser(Strategy::LeastLoad, None);
    let mut counts: BTreeMap<_, _> = BTreeMap::new();
    for _ in 0..300 {
        let choice = chooser.select(&engines, &ask(Instant::now())).unwrap();
        *counts.entry(choice.engine.name.clone()).or_insert(0) += 1;
    }
    assert!(counts.values().all(|c| *c > 70), "{counts:?}");
}

#[test]
fn full_and_down_are_distinguished() {
    let now = Instant::now();
    let full = up("full", load(10, 500.0, 0.5));
    let saturated = engine("saturated", State::Saturated, Some(load(1, 500.0, 0.5)));
    let down = engine("down", State::Unhealthy, None);
    let new = engine("new", State::Starting, None);
    for strategy in Strategy::ALL {
        let chooser = chooser(strategy, Some(10));
        let refused = |engines: &[&Arc<Engine>]| {
            let engines = fleet(engines.iter().map(|e| Arc::clone(e)));
            let why = chooser.select(&engines, &ask(now)).unwrap_err();
            (why.is_capacity_exhausted(), why.to_string())
        };
        let expected = |full: bool, reasons: &str| (full, reasons.to_owned());
        assert_eq!(
            refused(&[&full, &down]),
            expected(true, "1 full, 1 unhealthy")
        );
        assert_eq!(
            refused(&[&saturated, &saturated]),
            expected(true, "2 saturated")
        );
        assert_eq!(
            refused(&[&down, &new]),
            expected(false, "1 unhealthy, 1 starting")
        );
        assert_eq!(refused(&[]), expected(false, "no engine is known"));
    }
}

#[test]
fn the_threshold_holds_with_reservations() {
    for strategy in Strategy::ALL {
        let engines = fleet(["a", "b"].map(|name| up(name, load(3, 500.0, 0.5))));
        let chooser = chooser(strategy, Some(5));
        let counts = spread(&chooser, &engines, 4);
        assert!(counts.values().all(|c| *c == 2), "{strategy:?} {counts:?}");
        let refused = chooser.select(&engines, &ask(Instant::now())).unwrap_err();
        assert!(refused.is_capacity_exhausted());
    }
}

#[test]
fn an_ejected_engine_gets_no_client_and_a_background_trial_when_due() {
    let engines = fleet(["good", "ejected"].map(|name| up(name, Load::default())));
    let chooser = chooser(Strategy::RoundRobin, None);
    let now = Instant::now();
    engines[1].accounting.record_failure(now, now);
    for _ in 0..10 {
        let choice = chooser.select(&engines, &ask(now)).unwrap();
        assert_eq!(choice.engine.name.as_str(), "good");
        assert!(choice.background_trial.is_none(), "in back-off");
    }
    let later = now + Duration::from_secs(1);
    let choice = chooser.select(&engines, &ask(later)).unwrap();
    assert_eq!(choice.engine.name.as_str(), "good");
    let rehearsal = choice.background_trial.unwrap();
    assert_eq!(rehearsal.engine.name.as_str(), "ejected");
    let next = chooser.select(&engines, &ask(later)).unwrap();
    assert!(next.background_trial.is_none(), "one at a time");
    engines[1].accounting.record_success();
    drop(rehearsal);
    let names = [0, 1].map(|_| {
        chooser
            .select(&engines, &ask(later))
            .unwrap()
            .engine
            .name
            .clone()
    });
    assert!(names.contains(&"ejected".into()));
}

#[test]
fn an_ejected_engine_is_tried_with_a_client_when_it_is_the_only_one() {
    let engines = fleet([up("only", Load::default())]);
    let chooser = chooser(Strategy::LeastLoad, None);
    let now = Instant::now();
    engines[0].accounting.record_failure(now, now);
    let refused = chooser.select(&engines, &ask(now)).unwrap_err();
    assert_eq!(refused.to_string(), "1 ejected");
    let later = now + Duration::from_secs(1);
    let choice = chooser.select(&engines, &ask(later)).unwrap();
    assert!(choice.trial.is_some() && choice.background_trial.is_none());
    assert!(
        chooser.select(&engines, &ask(later)).is_err(),
        "one at a time"
    );
}

#[test]
fn engines_tried_before_are_left_out() {
    let engines = fleet(["a", "b"].map(|name| up(name, Load::default())));
    let chooser = chooser(Strategy::RoundRobin, None);
    let tried = [EngineName::from("a")];
    for _ in 0..3 {
        let now = Instant::now();
        let ask = SchedulingRequest {
            tried: &tried,
            ..ask(now)
        };
        let choice = chooser.select(&engines, &ask).unwrap();
        assert_eq!(choice.engine.name.as_str(), "b");
    }
}

#[test]
fn a_snapshot_with_other_engines_keeps_the_placements_of_documents() {
    let now = Instant::now();
    let chooser = chooser(Strategy::LeastLoad, None);
    let [a, b, c] = ["a", "b", "c"].map(|name| up(name, load(0, 500.0, 0.5)));
    let sales = SchedulingRequest {
        document: Some("sales"),
        ..ask(now)
    };
    let first = fleet([a.clone(), c.clone()]);
    let holder = chooser.select(&first, &sales).unwrap().engine;
    let second = fleet([a, b, c]);
    let choice = chooser.select(&second, &sales).unwrap();
    assert!(choice.document_loaded);
    assert_eq!(choice.engine.name, holder.name);
}

#[test]
fn an_engine_that_holds_the_document_is_preferred_until_it_is_fuller() {
    let now = Instant::now();
    for strategy in [Strategy::LeastLoad, Strategy::P2c] {
        let mut there = load(100, 500.0, 0.5);
        there.documents = vec!["sales".to_owned()];
        let engines = fleet([
            up("a", load(100, 500.0, 0.5)),
            up("b", there),
            up("c", load(100, 500.0, 0.5)),
        ]);
        let chooser = chooser(strategy, None);
        let sales = SchedulingRequest {
            document: Some("sales"),
            ..ask(now)
        };
        let mut held = 0;
        let mut kept = Vec::new();
        for _ in 0..60 {
            let choice = chooser.select(&engines, &sales).unwrap();
            held += u32::from(choice.engine.name.as_str() == "b");
            kept.push(choice);
        }
        assert!((5..60).contains(&held), "{strategy:?}: {held}");
    }
}

#[test]
fn packed_fills_one_engine_after_the_other_in_the_order_of_numbers() {
    let engines = fleet(["e-10", "e-2", "e-9"].map(|name| up(name, load(0, 800.0, 0.1))));
    let chooser = chooser(Strategy::Packed, Some(40));
    let counts = spread(&chooser, &engines, 50);
    assert_eq!(counts["e-2"], 40, "{counts:?}");
    assert_eq!(counts["e-9"], 10, "{counts:?}");
    let short = up("e-1", load(0, 100.0, 0.1));
    let engines = fleet(engines.iter().cloned().chain([short]));
    let counts = spread(&chooser, &engines, 10);
    assert_eq!(counts["e-9"], 10, "e-1 runs short of memory: {counts:?}");
}

#[test]
fn an_explanation_agrees_with_the_choice_and_reserves_nothing() {
    let now = Instant::now();
    let full = up("full", load(9, 500.0, 0.5));
    let down = engine("down", State::Unhealthy, None);
    let engines = fleet([
        up("busy", load(4, 500.0, 0.9)),
        down,
        full,
        up("idle", load(3, 500.0, 0.1)),
    ]);
    let chooser = chooser(Strategy::LeastLoad, Some(9));
    let dry = chooser.explain(&engines, &ask(now));
    assert_eq!(
        dry,
        chooser.explain(&engines, &ask(now)),
        "nothing has changed"
    );
    let (choice, explained) = chooser.select_explained(&engines, &ask(now));
    let choice = choice.unwrap();
    assert_eq!(explained, dry);
    assert_eq!(explained.chosen.as_ref(), Some(&choice.engine.name));
    let outcomes: Vec<_> = explained
        .engines
        .iter()
        .map(|e| e.outcome.as_str())
        .collect();
    assert_eq!(outcomes, ["outscored", "unhealthy", "full", "chosen"]);
    let [busy, .., idle] = &explained.engines[..] else {
        panic!("{explained:?}");
    };
    assert!(idle.total > busy.total && idle.scores.len() == 3);
    let after = chooser.explain(&engines, &ask(now));
    assert_eq!(
        (after.engines[3].sessions, after.engines[3].reserved),
        (4, 1)
    );
}

#[test]
fn slow_start_increases_the_share_of_a_new_engine() {
    let start = Instant::now();
    let second = Duration::from_secs(1);
    for strategy in [Strategy::LeastLoad, Strategy::RoundRobin, Strategy::P2c] {
        let rules = Rules {
            strategy,
            slow_start: 30 * second,
            ..Rules::default()
        };
        let share = |after: Duration| {
            let chooser = Scheduler::new(rules, Box::new(StdRng::seed_from_u64(3)));
            let new = up("new", load(0, 500.0, 0.1));
            new.accounting.mark_ready(start);
            let mut all: Vec<_> = (0..4)
                .map(|n| up(&format!("old-{n}"), load(50, 500.0, 0.1)))
                .collect();
            all.push(new);
            let engines = fleet(all);
            let mut taken = 0_u32;
            for _ in 0..400 {
                let choice = chooser.select(&engines, &ask(start + after)).unwrap();
                taken += u32::from(choice.engine.name.as_str() == "new");
            }
            taken
        };
        let shares = [share(Duration::ZERO), share(6 * second), share(31 * second)];
        assert_eq!(shares[0], 0, "{strategy:?}");
        assert!(shares[1] < 40, "{strategy:?} {shares:?}");
        assert!(shares[2] >= 80, "{strategy:?} {shares:?}");
    }
}

#[test]
fn slow_start_prefers_warm_engines_however_many_are_new() {
    let now = Instant::now();
    for strategy in [Strategy::LeastLoad, Strategy::RoundRobin, Strategy::P2c] {
        let rules = Rules {
            strategy,
            slow_start: Duration::from_secs(30),
            ..Rules::default()
        };
        let chooser = Scheduler::new(rules, Box::new(StdRng::seed_from_u64(3)));
        let old = (0..30).map(|n| up(&format!("old-{n}"), load(50, 500.0, 0.1)));
        let new = (0..12).map(|n| up(&format!("new-{n}"), load(0, 500.0, 0.1)));
        let engines = fleet(old.chain(new));
        for engine in engines
            .iter()
            .filter(|e| e.name.as_str().starts_with("new"))
        {
            engine.accounting.mark_ready(now);
        }
        for _ in 0..100 {
            let choice = chooser.select(&engines, &ask(now)).unwrap();
            assert!(
                choice.engine.name.as_str().starts_with("old"),
                "{strategy:?}"
            );
        }
    }
}

#[test]
fn an_engine_without_memory_metrics_gets_the_mean_score() {
    let now = Instant::now();
    let chooser = Scheduler::new(Rules::default(), Box::new(StdRng::seed_from_u64(3)));
    // All engines have ample memory; one does not report it and gets the same score, not half of it.
    let known = (0..9).map(|n| up(&format!("e-{n}"), load(5, 900.0, 0.1)));
    let silent = up("silent", Load::default());
    for n in 0..5 {
        silent.accounting.opened(&format!("s{n}"), "r", now);
    }
    let engines = fleet(known.chain([silent]));
    let why = chooser.explain(&engines, &ask(now));
    let memory = |engine: &str| {
        let judged = why.engines.iter().find(|j| j.engine.as_str() == engine);
        let score = judged.unwrap().scores.iter().find(|s| s.name == "memory");
        score.unwrap().value
    };
    assert!((memory("silent") - memory("e-0")).abs() < 0.06);
}

#[test]
fn slow_start_refuses_nobody() {
    let now = Instant::now();
    let rules = Rules {
        slow_start: Duration::from_secs(30),
        ..Rules::default()
    };
    let chooser = Scheduler::new(rules, Box::new(StdRng::seed_from_u64(3)));
    let engines = fleet((0..9).map(|n| up(&format!("e-{n}"), load(n, 500.0, 0.1))));
    for engine in engines.iter() {
        engine.accounting.mark_ready(now);
    }
    let choice = chooser.select(&engines, &ask(now)).unwrap();
    assert_eq!(choice.engine.name.as_str(), "e-0");
    let why = chooser.explain(&engines, &ask(now));
    assert_eq!(why.engines[5].slow_start_weight, 0.0);
    assert_eq!(why.engines[5].outcome.as_str(), "warming-up");
}

#[test]
fn draining_low_memory_and_full_pools_exclude() {
    let now = Instant::now();
    let rules = Rules {
        per_pool: Some(10),
        memory_floor: Some(100.0),
        ..Rules::default()
    };
    let chooser = Scheduler::new(rules, Box::new(StdRng::seed_from_u64(3)));
    let (a, b) = (up("a", load(3, 500.0, 0.1)), up("b", load(4, 99.0, 0.1)));
    let engines = fleet([a.clone(), b]);
    assert_eq!(chooser.available_sessions(&engines, now), Some(3));
    let choice = chooser.select(&engines, &ask(now)).unwrap();
    assert_eq!(choice.engine.name.as_str(), "a");
    a.accounting.set_draining(true);
    let why = chooser.select(&engines, &ask(now)).unwrap_err();
    assert!(why.is_capacity_exhausted(), "b is up");
    assert_eq!(why.to_string(), "1 low-memory, 1 draining");
    a.accounting.set_draining(false);
    choice.reservation.placed("s", now);
    for stream in ["t", "u"] {
        let choice = chooser.select(&engines, &ask(now)).unwrap();
        choice.reservation.placed(stream, now);
    }
    assert_eq!(chooser.available_sessions(&engines, now), Some(0));
    let why = chooser.select(&engines, &ask(now)).unwrap_err();
    assert!(why.is_capacity_exhausted() && why.to_string().contains("1 pool-full"));
    let why = chooser.explain(&engines, &ask(now));
    assert_eq!(why.engines[0].outcome.as_str(), "pool-full");
}

#[test]
fn a_large_pool_is_sampled_and_its_only_free_engine_is_found() {
    let now = Instant::now();
    let engine = |n: u32| up(&format!("e-{n}"), load(u32::from(n != 1234), 500.0, 0.1));
    let engines = fleet((0..3000).map(engine));
    for strategy in Strategy::ALL {
        let limited = chooser(strategy, Some(1));
        let choice = limited.select(&engines, &ask(now)).unwrap();
        assert_eq!(choice.engine.name.as_str(), "e-1234", "{strategy:?}");
        let why = limited.select(&engines, &ask(now)).unwrap_err();
        assert_eq!(why.to_string(), "3000 full", "{strategy:?}");
    }
    let counts = spread(&chooser(Strategy::LeastLoad, None), &engines, 3000);
    let max = counts.values().max();
    assert!(max <= Some(&4), "no herd: {max:?}");
}
