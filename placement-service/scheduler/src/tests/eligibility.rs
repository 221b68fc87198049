//! Which engines may get a session at all.

use super::*;

#[test]
fn full_and_down_are_distinguished() {
    let now = Instant::now();
    let full = running_engine("full", load(10, 500.0, 0.5));
    let saturated = engine("saturated", State::Saturated, Some(load(1, 500.0, 0.5)));
    let down = engine("down", State::Unhealthy, None);
    let new = engine("new", State::Starting, None);
    for strategy in Strategy::ALL {
        let chooser = chooser(strategy, Some(10));
        let refused = |engines: &[&Arc<Engine>]| {
            let engines = fleet(engines.iter().map(|e| Arc::clone(e)));
            let why = chooser.select(&engines, &request_at(now)).unwrap_err();
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
        let engines = fleet(["a", "b"].map(|name| running_engine(name, load(3, 500.0, 0.5))));
        let chooser = chooser(strategy, Some(5));
        let counts = spread(&chooser, &engines, 4);
        assert!(counts.values().all(|c| *c == 2), "{strategy:?} {counts:?}");
        let refused = chooser
            .select(&engines, &request_at(Instant::now()))
            .unwrap_err();
        assert!(refused.is_capacity_exhausted());
    }
}

#[test]
fn an_ejected_engine_gets_no_client_and_a_background_trial_when_due() {
    let engines = fleet(["good", "ejected"].map(|name| running_engine(name, Load::default())));
    let chooser = chooser(Strategy::RoundRobin, None);
    let now = Instant::now();
    engines[1].accounting.record_failure(now, now);
    for _ in 0..10 {
        let choice = chooser.select(&engines, &request_at(now)).unwrap();
        assert_eq!(choice.engine.name.as_str(), "good");
        assert!(choice.background_trial.is_none(), "in back-off");
    }
    let later = now + Duration::from_secs(1);
    let choice = chooser.select(&engines, &request_at(later)).unwrap();
    assert_eq!(choice.engine.name.as_str(), "good");
    let rehearsal = choice.background_trial.unwrap();
    assert_eq!(rehearsal.engine.name.as_str(), "ejected");
    let next = chooser.select(&engines, &request_at(later)).unwrap();
    assert!(next.background_trial.is_none(), "one at a time");
    engines[1].accounting.record_success();
    drop(rehearsal);
    let names = [0, 1].map(|_| {
        chooser
            .select(&engines, &request_at(later))
            .unwrap()
            .engine
            .name
            .clone()
    });
    assert!(names.contains(&"ejected".into()));
}

#[test]
fn an_ejected_engine_is_tried_with_a_client_when_it_is_the_only_one() {
    let engines = fleet([running_engine("only", Load::default())]);
    let chooser = chooser(Strategy::LeastLoad, None);
    let now = Instant::now();
    engines[0].accounting.record_failure(now, now);
    let refused = chooser.select(&engines, &request_at(now)).unwrap_err();
    assert_eq!(refused.to_string(), "1 ejected");
    let later = now + Duration::from_secs(1);
    let choice = chooser.select(&engines, &request_at(later)).unwrap();
    assert!(choice.trial.is_some() && choice.background_trial.is_none());
    assert!(
        chooser.select(&engines, &request_at(later)).is_err(),
        "one at a time"
    );
}

#[test]
fn engines_tried_before_are_left_out() {
    let engines = fleet(["a", "b"].map(|name| running_engine(name, Load::default())));
    let chooser = chooser(Strategy::RoundRobin, None);
    let tried = [EngineName::from("a")];
    for _ in 0..3 {
        let now = Instant::now();
        let ask = SchedulingRequest {
            document_weight: None,
            tried: &tried,
            ..request_at(now)
        };
        let choice = chooser.select(&engines, &ask).unwrap();
        assert_eq!(choice.engine.name.as_str(), "b");
    }
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
    let (a, b) = (
        running_engine("a", load(3, 500.0, 0.1)),
        running_engine("b", load(4, 99.0, 0.1)),
    );
    let engines = fleet([a.clone(), b]);
    assert_eq!(chooser.available_sessions(&engines, now), Some(3));
    let choice = chooser.select(&engines, &request_at(now)).unwrap();
    assert_eq!(choice.engine.name.as_str(), "a");
    a.accounting.set_draining(true);
    let why = chooser.select(&engines, &request_at(now)).unwrap_err();
    assert!(why.is_capacity_exhausted(), "b is up");
    assert_eq!(why.to_string(), "1 low-memory, 1 draining");
    a.accounting.set_draining(false);
    choice.reservation.placed("s", now);
    for stream in ["t", "u"] {
        let choice = chooser.select(&engines, &request_at(now)).unwrap();
        choice.reservation.placed(stream, now);
    }
    assert_eq!(chooser.available_sessions(&engines, now), Some(0));
    let why = chooser.select(&engines, &request_at(now)).unwrap_err();
    assert!(why.is_capacity_exhausted() && why.to_string().contains("1 pool-full"));
    let why = chooser.explain(&engines, &request_at(now));
    assert_eq!(why.engines[0].outcome.as_str(), "pool-full");
}
