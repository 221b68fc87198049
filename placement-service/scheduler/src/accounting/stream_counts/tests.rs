use super::*;
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::thread;

const LIMIT: u32 = 4;
const HOLDERS: [&str; 3] = ["a", "b", "t.acc.tok"];

/// One pool in which all holders have the same limit.
fn limited() -> (StreamCounts, Arc<PoolStreams>) {
    let counts = StreamCounts::default();
    let pool = counts.pool(&"p".into());
    let limit = NonZeroU32::new(LIMIT);
    pool.set_limits(StreamLimits {
        per_session: limit,
        per_bearer: limit,
    });
    (counts, pool)
}

#[test]
fn sessions_and_accounts_have_separate_limits() {
    let (_counts, pool) = limited();
    pool.set_limits(StreamLimits {
        per_session: NonZeroU32::new(1),
        per_bearer: NonZeroU32::new(2),
    });
    let session = pool.acquire("s").unwrap();
    assert_eq!(pool.acquire("s").err(), Some(1));
    let other = pool.acquire("other").unwrap();
    let tokens = ["t.acc.x", "t.acc.y"].map(|name| pool.acquire(name).unwrap());
    assert_eq!(pool.acquire("t.acc.z").err(), Some(2));
    assert_eq!(pool.count("t.acc.z"), (2, Some(2)));
    let robot = pool.acquire("t.robot.x").unwrap();
    // Open streams are counted beyond the limit.
    let adopted = pool.adopt("s");
    assert_eq!(pool.count("s"), (2, Some(1)));
    drop((session, other, tokens, robot));
    assert_eq!(pool.acquire("s").err(), Some(1));
    drop(adopted);
    assert!(pool.acquire("s").is_ok());
    pool.set_limits(StreamLimits::default());
    let slots: Vec<_> = (0..1000).map(|_| pool.acquire("s").unwrap()).collect();
    assert_eq!(pool.count("s"), (1000, None));
    drop(slots);
    assert_eq!(pool.count("s"), (0, None));
}

#[test]
fn parallel_placements_never_exceed_the_limit() {
    let (_counts, pool) = limited();
    let attempt = || (0..500).filter_map(|_| pool.acquire("s").ok());
    let slots: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| attempt().collect::<Vec<_>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    assert_eq!(slots.len(), LIMIT as usize);
}

#[test]
fn an_unused_pool_is_removed() {
    let (counts, pool) = limited();
    let slot = counts.pool(&"reported".into()).adopt("s");
    counts.remove_unused();
    assert_eq!(counts.pools().len(), 2);
    drop((slot, pool));
    counts.remove_unused();
    assert_eq!(counts.pools().len(), 0);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Place(usize, usize),
    Adopt(usize, usize),
    Close(usize, usize),
    Exchange(usize),
    Lose(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let (replica, holder) = (0..2_usize, 0..HOLDERS.len());
    prop_oneof![
        6 => (replica.clone(), holder.clone()).prop_map(|(r, h)| Step::Place(r, h)),
        1 => (replica.clone(), holder).prop_map(|(r, h)| Step::Adopt(r, h)),
        4 => (replica.clone(), any::<usize>()).prop_map(|(r, n)| Step::Close(r, n)),
        4 => replica.clone().prop_map(Step::Exchange),
        1 => replica.prop_map(Step::Lose),
    ]
}

/// Exchanges counts as the ledger does.
fn exchange(ledger: &mut [HashMap<String, u32>; 2], replica: usize, counts: &StreamCounts) {
    let changed = counts.take_changed();
    let remote_counts: Vec<_> = changed
        .into_iter()
        .map(|count| {
            let name = count.name();
            let other = ledger[1 - replica].get(&name).copied().unwrap_or(0);
            ledger[replica].insert(name, count.own);
            (count, other)
        })
        .collect();
    counts.set_remote(remote_counts);
}

proptest! {
    /// Two replicas: a placement is refused only when the limit is reached together with the other replica's count at the
    /// last exchange. After an exchange the limit holds over both replicas. Nothing is left when all streams are closed.
    #[test]
    fn replicas_hold_a_limit_together(steps in prop::collection::vec(step(), 0..200)) {
        let replicas = [limited(), limited()];
        let mut ledger = [HashMap::new(), HashMap::new()];
        let mut slots: [Vec<(usize, StreamSlot)>; 2] = [Vec::new(), Vec::new()];
        for (counts, _) in &replicas {
            counts.start_exchange();
        }
        let own = |slots: &[Vec<(usize, StreamSlot)>; 2], r: usize, h| {
            u32::try_from(slots[r].iter().filter(|(of, _)| *of == h).count()).unwrap()
        };
        for step in steps {
            match step {
                Step::Place(r, h) => {
                    let (known, limit) = replicas[r].1.count(HOLDERS[h]);
                    prop_assert_eq!(limit, Some(LIMIT));
                    prop_assert!(known >= own(&slots, r, h));
                    let slot = replicas[r].1.acquire(HOLDERS[h]);
                    prop_assert_eq!(slot.is_ok(), known < LIMIT);
                    slots[r].extend(slot.ok().map(|slot| (h, slot)));
                }
                Step::Adopt(r, h) => slots[r].push((h, replicas[r].1.adopt(HOLDERS[h]))),
                Step::Close(r, n) if !slots[r].is_empty() => {
                    let n = n % slots[r].len();
                    drop(slots[r].swap_remove(n));
                }
                Step::Close(..) => {}
                Step::Exchange(r) => {
                    // Both, so that each knows the other's current count.
                    exchange(&mut ledger, 1 - r, &replicas[1 - r].0);
                    exchange(&mut ledger, r, &replicas[r].0);
                    for (h, name) in HOLDERS.iter().enumerate() {
                        let (here, there) = (own(&slots, r, h), own(&slots, 1 - r, h));
                        let (known, _) = replicas[r].1.count(name);
                        // A holder below its limit without changes is not exchanged again.
                        prop_assert!(known < LIMIT || known == here + there || here >= LIMIT);
                    }
                }
                Step::Lose(r) => {
                    replicas[r].0.stop_exchange();
                    for (h, name) in HOLDERS.iter().enumerate() {
                        prop_assert_eq!(replicas[r].1.count(name).0, own(&slots, r, h));
                    }
                    ledger[r].clear();
                    replicas[r].0.start_exchange();
                }
            }
        }
        slots = [Vec::new(), Vec::new()];
        drop(slots);
        for r in [0, 1, 0, 1] {
            exchange(&mut ledger, r, &replicas[r].0);
        }
        for (counts, pool) in &replicas {
            prop_assert!(counts.take_changed().is_empty());
            prop_assert_eq!(pool.holders(), 0);
        }
    }
}
