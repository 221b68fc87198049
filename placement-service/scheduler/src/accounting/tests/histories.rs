//! Random histories of reservations, streams and probes.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Step {
    Reserve,
    Place(usize),
    GiveUp(usize),
    Open(u8),
    Close { name: u8, lasted_ms: u64 },
    Probe { ago_ms: u64, sessions: u32 },
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Reserve),
        any::<usize>().prop_map(Step::Place),
        any::<usize>().prop_map(Step::GiveUp),
        (0..60_u8).prop_map(Step::Open),
        (0..60_u8, 0..20_000_u64).prop_map(|(name, lasted_ms)| Step::Close { name, lasted_ms }),
        (0..3000_u64, 0..50_u32).prop_map(|(ago_ms, sessions)| Step::Probe { ago_ms, sessions }),
        (0..5000_u64).prop_map(Step::Wait),
    ]
}

proptest! {
    /// In any history every reservation and every open stream counts exactly once, and nothing is left when all
    /// reservations and streams are gone and the time-to-live has passed.
    #[test]
    fn random_histories_neither_leak_nor_go_negative(steps in prop::collection::vec(step(), 0..200)) {
        let accounting = Arc::new(EngineAccounting::new(TTL));
        let costs = Arc::new(PoolCosts::default());
        accounting.subscribe(&Arc::default(), 0, &costs);
        let mut now = Instant::now() + Duration::from_secs(10);
        let mut handles = Vec::new();
        let mut open = BTreeSet::new();
        let mut placed = 0_u8;
        for step in steps {
            let before = accounting.snapshot(now);
            match step {
                Step::Reserve => {
                    let key = CostKey { document: Some(handles.len() as u64), document_loaded: false };
                    let cost = Cost { memory_mb: 3.3, cpu: 0.01 };
                    costs.observe(&[Observation { key, cost }]);
                    let mut handle = accounting.reserve_for(0, key);
                    handle.attach_slot(accounting.streams.acquire("r").unwrap());
                    handles.push(handle);
                    prop_assert_eq!(accounting.snapshot(now).own, before.own + 1);
                    prop_assert_eq!(reserved(&accounting, now), before.reserved + 1);
                }
                Step::Place(n) if !handles.is_empty() => {
                    // Gateways do not know these names before: a placement is answered before its stream opens.
                    handles.swap_remove(n % handles.len()).placed(&format!("p{placed}"), now);
                    placed += 1;
                    prop_assert_eq!(reserved(&accounting, now), before.reserved);
                    prop_assert_eq!(accounting.snapshot(now).own, before.own);
                }
                Step::GiveUp(n) if !handles.is_empty() => {
                    drop(handles.swap_remove(n % handles.len()));
                    prop_assert_eq!(reserved(&accounting, now), before.reserved - 1);
                }
                // Every second name belongs to a placement, if there was one.
                Step::Open(n) => {
                    let name = if n % 2 == 0 && n < placed { format!("p{n}") } else { format!("x{n}") };
                    accounting.opened(&name, "r", now);
                    open.insert(name);
                }
                Step::Close { name: n, lasted_ms } => {
                    let name = if n % 2 == 0 && n < placed { format!("p{n}") } else { format!("x{n}") };
                    accounting.closed(&name, Duration::from_millis(lasted_ms), now);
                    open.remove(&name);
                }
                Step::Probe { ago_ms, sessions } => {
                    accounting.apply_probed_sessions(now - Duration::from_millis(ago_ms), sessions);
                    let after = accounting.snapshot(now);
                    prop_assert!(after.reserved <= before.reserved && after.closed <= before.closed);
                    prop_assert_eq!((after.own, after.open), (before.own, before.open));
                }
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Place(_) | Step::GiveUp(_) => {}
            }
            let standing = accounting.snapshot(now);
            prop_assert_eq!(standing.open as usize, open.len());
            // The session has exactly the streams that count on the engine.
            prop_assert_eq!(accounting.streams.count("r").0, standing.own);
            let (least, most) = (handles.len() + open.len(), handles.len() + open.len() + usize::from(placed));
            prop_assert!((least..=most).contains(&(standing.own as usize)));
            prop_assert!(standing.reserved as usize >= handles.len());
            prop_assert!(standing.pending_cost.memory_mb > -1e-6 && standing.pending_cost.cpu > -1e-6);
        }
        handles.clear();
        for name in open {
            accounting.closed(&name, Duration::MAX, now);
        }
        let end = accounting.snapshot(now + TTL);
        prop_assert_eq!((end.reserved, end.own, end.open), (0, 0, 0));
        prop_assert_eq!(accounting.streams.count("r").0, 0);
        prop_assert_eq!(end.pending_cost, Cost::default());
        prop_assert!(accounting.is_empty());
        accounting.apply_probed_sessions(now + TTL, 0);
        prop_assert_eq!(accounting.snapshot(now + TTL).closed, 0);
    }
}
