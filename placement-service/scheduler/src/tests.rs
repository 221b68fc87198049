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

mod eligibility;
mod slow_start;
mod strategies;

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
