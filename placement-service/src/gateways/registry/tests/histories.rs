//! Random histories of gateways that report like the filter.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// An action of a gateway, and whether its report arrives.
#[derive(Clone, Debug)]
enum Step {
    Place(u8),
    Open { gateway: u8, stream: u8 },
    Close { gateway: u8, stream: u8 },
    LoseReport(u8),
    Restart,
    Report(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (gateway, stream) = (0..3_u8, 0..60_u8);
    prop_oneof![
        stream.clone().prop_map(Step::Place),
        (gateway.clone(), stream.clone())
            .prop_map(|(gateway, stream)| Step::Open { gateway, stream }),
        (gateway.clone(), stream).prop_map(|(gateway, stream)| Step::Close { gateway, stream }),
        gateway.clone().prop_map(Step::LoseReport),
        Just(Step::Restart),
        gateway.prop_map(Step::Report),
    ]
}

/// A gateway that reports like the filter.
#[derive(Default)]
struct Worker {
    sequence: u64,
    open: BTreeSet<String>,
    opened: Vec<String>,
    closed: Vec<String>,
    resync: bool,
}

fn engine_of(stream: &str) -> &'static str {
    ["e", "f"][stream.len() % 2]
}

impl Worker {
    /// All changes since the last call, in as many reports as needed.
    fn reports(&mut self) -> Vec<GatewayReport> {
        let named = |names: &[String]| {
            let streams = names.iter().map(|n| stream(n, &n[..1], engine_of(n)));
            streams.collect::<Vec<_>>()
        };
        let (opened, closed_streams) = (
            named(&std::mem::take(&mut self.opened)),
            std::mem::take(&mut self.closed),
        );
        let closed_streams: Vec<_> = closed_streams.iter().map(String::as_str).collect();
        self.sequence += 1;
        if !std::mem::take(&mut self.resync) {
            let report = closed(self.sequence, &closed_streams);
            return vec![GatewayReport { opened, ..report }];
        }
        let all: Vec<_> = self.open.iter().cloned().collect();
        let (first, last) = all.split_at(all.len() / 2);
        self.sequence += 1;
        let part = |sequence, part, names| GatewayReport {
            sequence,
            full: Some(part),
            opened: named(names),
            ..GatewayReport::default()
        };
        vec![
            part(self.sequence - 1, FullSyncPart::First, first),
            part(self.sequence, FullSyncPart::Last, last),
        ]
    }
}

proptest! {
    /// Invariant: once every gateway has reported again, the registry and the accounting contain each open stream
    /// exactly once, whatever opened, closed, was lost or restarted before.
    #[test]
    fn random_histories_neither_leak_nor_count_twice(steps in prop::collection::vec(step(), 0..120)) {
        let mut w = testbed();
        let mut workers: [Worker; 3] = Default::default();
        // No name is used twice.
        let mut used = BTreeSet::new();
        for step in steps {
            match step {
                Step::Place(n) => {
                    let name = format!("{n}-x");
                    if !used.contains(&name) {
                        let engine = EngineName::from(engine_of(&name));
                        let accounting = w.accounting_registry.get_or_create(&Arc::from("p"), &engine);
                        w.accounting_registry.placed(accounting.reserve(1), &name, w.now);
                    }
                }
                Step::Open { gateway, stream } => {
                    // A name belongs to one gateway.
                    if stream % 3 == gateway {
                        let name = format!("{stream}-{}", "x".repeat(usize::from(stream % 2) + 1));
                        let worker = &mut workers[usize::from(gateway)];
                        if used.insert(name.clone()) {
                            worker.open.insert(name.clone());
                            worker.opened.push(name);
                        }
                    }
                }
                Step::Close { gateway, stream } => {
                    let worker = &mut workers[usize::from(gateway)];
                    let prefix = format!("{stream}-");
                    let name = worker.open.iter().find(|name| name.starts_with(&prefix)).cloned();
                    if let Some(name) = name {
                        worker.open.remove(&name);
                        if worker.opened.contains(&name) {
                            worker.opened.retain(|opened| *opened != name);
                        } else {
                            worker.closed.push(name);
                        }
                    }
                }
                // The gateway does not know whether the report arrived.
                Step::LoseReport(n) => {
                    let worker = &mut workers[usize::from(n)];
                    worker.reports();
                }
                Step::Restart => {
                    let (accounting_registry, now) = (AccountingRegistry::new(TTL), w.now);
                    w = Testbed { registry: Registry::new(accounting_registry.clone()), accounting_registry, now };
                }
                Step::Report(n) => {
                    let worker = &mut workers[usize::from(n)];
                    let name = format!("g{n}");
                    for report in worker.reports() {
                        worker.resync |= w.take(&name, &report).resync;
                    }
                }
            }
        }
        for (n, worker) in workers.iter_mut().enumerate() {
            // The first report may show that the list is needed; the second sends it.
            for _ in 0..3 {
                for report in worker.reports() {
                    worker.resync |= w.take(&format!("g{n}"), &report).resync;
                }
            }
            prop_assert!(!worker.resync);
        }
        w.now += TTL;
        for engine in ["e", "f"] {
            let open = workers.iter().flat_map(|worker| &worker.open);
            let open = open.filter(|name| engine_of(name) == engine).count();
            prop_assert_eq!(w.stream_counts(engine), (open, u32::try_from(open).unwrap()));
            let accounting = w.accounting_registry.get_or_create(&Arc::from("p"), &EngineName::from(engine));
            prop_assert_eq!(accounting.snapshot(w.now).own as usize, open);
        }
        let all: usize = workers.iter().map(|worker| worker.open.len()).sum();
        prop_assert_eq!(w.registry.streams.len(), all);
        // Silent gateways leave nothing behind.
        w.registry.remove_silent(w.now + Duration::from_secs(GATEWAY_TIMEOUT_S));
        prop_assert_eq!(w.registry.sessions.len(), (0, 0));
        prop_assert!(w.registry.engines.is_empty() && w.registry.streams.is_empty());
        prop_assert_eq!((w.stream_counts("e"), w.stream_counts("f")), ((0, 0), (0, 0)));
    }
}
