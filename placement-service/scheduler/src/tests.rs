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

fn request_at(now: Instant) -> SchedulingRequest<'static> {
    SchedulingRequest {
        document_weight: None,
        document: None,
        tried: &[],
        now,
    }
}

fn load(sessions: u32, free_mb: f64, cpu: f64) -> Load {
    Load {
        sessions: Some(sessions),
        memory: Some(Memory {
            committed: 1000.0 - free_mb,
            free: free_mb,
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
    let accounting = Arc::new(EngineAccounting::new(Duration::from_secs(30)));
    Arc::new(Engine {
        state,
        load: load.map(Arc::new),
        ..Engine::new(name.into(), endpoint, accounting)
    })
}

fn running_engine(name: &str, load: Load) -> Arc<Engine> {
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
fn spread(scheduler: &Scheduler, engines: &Engines, count: u32) -> BTreeMap<String, u32> {
    let now = Instant::now();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..count {
        let selection = scheduler.select(engines, &request_at(now)).unwrap();
        let name = selection.engine.accounting.snapshot(now).own.to_string();
        selection.reservation.placed(&name, now);
        *counts.entry(selection.engine.name.to_string()).or_default() += 1;
    }
    counts
}

#[test]
fn a_snapshot_with_other_engines_keeps_the_placements_of_documents() {
    let now = Instant::now();
    let scheduler = chooser(Strategy::LeastLoad, None);
    let [a, b, c] = ["a", "b", "c"].map(|name| running_engine(name, load(0, 500.0, 0.5)));
    let sales = SchedulingRequest {
        document_weight: None,
        document: Some("sales"),
        ..request_at(now)
    };
    let first = fleet([a.clone(), c.clone()]);
    let holder = scheduler.select(&first, &sales).unwrap().engine;
    let second = fleet([a, b, c]);
    let selection = scheduler.select(&second, &sales).unwrap();
    assert!(selection.document_loaded);
    assert_eq!(selection.engine.name, holder.name);
}

#[test]
fn an_engine_that_holds_the_document_is_preferred_until_it_is_fuller() {
    let now = Instant::now();
    for strategy in [Strategy::LeastLoad, Strategy::P2c] {
        let mut holder = load(100, 500.0, 0.5);
        holder.documents = vec!["sales".to_owned()];
        let engines = fleet([
            running_engine("a", load(100, 500.0, 0.5)),
            running_engine("b", holder),
            running_engine("c", load(100, 500.0, 0.5)),
        ]);
        let scheduler = chooser(strategy, None);
        let sales = SchedulingRequest {
            document_weight: None,
            document: Some("sales"),
            ..request_at(now)
        };
        let mut holder_count = 0;
        let mut placements = Vec::new();
        for _ in 0..60 {
            let selection = scheduler.select(&engines, &sales).unwrap();
            holder_count += u32::from(selection.engine.name.as_str() == "b");
            placements.push(selection);
        }
        assert!(
            (5..60).contains(&holder_count),
            "{strategy:?}: {holder_count}"
        );
    }
}

#[test]
fn an_explanation_agrees_with_the_choice_and_reserves_nothing() {
    let now = Instant::now();
    let full_engine = running_engine("full", load(9, 500.0, 0.5));
    let unhealthy = engine("down", State::Unhealthy, None);
    let engines = fleet([
        running_engine("busy", load(4, 500.0, 0.9)),
        unhealthy,
        full_engine,
        running_engine("idle", load(3, 500.0, 0.1)),
    ]);
    let scheduler = chooser(Strategy::LeastLoad, Some(9));
    let explanation = scheduler.explain(&engines, &request_at(now));
    assert_eq!(
        explanation,
        scheduler.explain(&engines, &request_at(now)),
        "nothing has changed"
    );
    let (selection, explained) = scheduler.select_explained(&engines, &request_at(now));
    let selection = selection.unwrap();
    assert_eq!(explained, explanation);
    assert_eq!(explained.selected.as_ref(), Some(&selection.engine.name));
    let outcomes: Vec<_> = explained
        .engines
        .iter()
        .map(|e| e.outcome.as_str())
        .collect();
    assert_eq!(outcomes, ["outscored", "unhealthy", "full", "selected"]);
    let [busy, .., idle] = &explained.engines[..] else {
        panic!("{explained:?}");
    };
    assert!(idle.total > busy.total && idle.scores.len() == 3);
    let after = scheduler.explain(&engines, &request_at(now));
    assert_eq!(
        (after.engines[3].sessions, after.engines[3].reserved),
        (4, 1)
    );
}

#[test]
fn a_large_pool_is_sampled_and_its_only_free_engine_is_found() {
    let now = Instant::now();
    let engine = |n: u32| running_engine(&format!("e-{n}"), load(u32::from(n != 1234), 500.0, 0.1));
    let engines = fleet((0..3000).map(engine));
    for strategy in Strategy::ALL {
        let limited = chooser(strategy, Some(1));
        let selection = limited.select(&engines, &request_at(now)).unwrap();
        assert_eq!(selection.engine.name.as_str(), "e-1234", "{strategy:?}");
        let reasons = limited.select(&engines, &request_at(now)).unwrap_err();
        assert_eq!(reasons.to_string(), "3000 full", "{strategy:?}");
    }
    let counts = spread(&chooser(Strategy::LeastLoad, None), &engines, 3000);
    let max = counts.values().max();
    assert!(max <= Some(&4), "no herd: {max:?}");
}
