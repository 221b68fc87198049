//! The share of engines that have just started.

use super::*;

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
            let new = running_engine("new", load(0, 500.0, 0.1));
            new.accounting.mark_ready(start);
            let mut all: Vec<_> = (0..4)
                .map(|n| running_engine(&format!("old-{n}"), load(50, 500.0, 0.1)))
                .collect();
            all.push(new);
            let engines = fleet(all);
            let mut taken = 0_u32;
            for _ in 0..400 {
                let choice = chooser
                    .select(&engines, &request_at(start + after))
                    .unwrap();
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
        let old = (0..30).map(|n| running_engine(&format!("old-{n}"), load(50, 500.0, 0.1)));
        let new = (0..12).map(|n| running_engine(&format!("new-{n}"), load(0, 500.0, 0.1)));
        let engines = fleet(old.chain(new));
        for engine in engines
            .iter()
            .filter(|e| e.name.as_str().starts_with("new"))
        {
            engine.accounting.mark_ready(now);
        }
        for _ in 0..100 {
            let choice = chooser.select(&engines, &request_at(now)).unwrap();
            assert!(
                choice.engine.name.as_str().starts_with("old"),
                "{strategy:?}"
            );
        }
    }
}

#[test]
fn slow_start_refuses_nobody() {
    let now = Instant::now();
    let rules = Rules {
        slow_start: Duration::from_secs(30),
        ..Rules::default()
    };
    let chooser = Scheduler::new(rules, Box::new(StdRng::seed_from_u64(3)));
    let engines = fleet((0..9).map(|n| running_engine(&format!("e-{n}"), load(n, 500.0, 0.1))));
    for engine in engines.iter() {
        engine.accounting.mark_ready(now);
    }
    let choice = chooser.select(&engines, &request_at(now)).unwrap();
    assert_eq!(choice.engine.name.as_str(), "e-0");
    let why = chooser.explain(&engines, &request_at(now));
    assert_eq!(why.engines[5].slow_start_weight, 0.0);
    assert_eq!(why.engines[5].outcome.as_str(), "warming-up");
}
