//! Sequences of reports by hand, and random ones.

use super::bounds::{MAX_GATEWAYS, MAX_STREAMS_PER_GATEWAY};
use super::*;
use berth_api::OpenStream;
use berth_scheduler::engine::Endpoint;
use proptest::prelude::*;
use std::collections::BTreeSet;

const START_MS: u64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_secs(30);

fn stream(name: &str, session: &str, engine: &str) -> OpenStream {
    OpenStream {
        stream: name.to_owned(),
        session_ref: session.to_owned(),
        pool: "p".to_owned(),
        engine: engine.to_owned(),
        opened_at: START_MS / 1000,
    }
}

fn opened(sequence: u64, streams: &[(&str, &str, &str)]) -> GatewayReport {
    let streams = streams.iter().map(|(s, r, e)| stream(s, r, e));
    GatewayReport {
        sequence,
        opened: streams.collect(),
        ..GatewayReport::default()
    }
}

fn full(part: FullSyncPart, report: GatewayReport) -> GatewayReport {
    GatewayReport {
        full: Some(part),
        ..report
    }
}

fn closed(sequence: u64, streams: &[&str]) -> GatewayReport {
    let streams = streams.iter().map(|name| berth_api::ClosedStream {
        stream: (*name).to_owned(),
        reason: CloseReason::Ended,
        duration_ms: 1,
        bytes_received: 0,
        bytes_sent: 0,
    });
    GatewayReport {
        sequence,
        closed: streams.collect(),
        ..GatewayReport::default()
    }
}

struct Testbed {
    registry: Registry,
    tallies: AccountingRegistry,
    now: Instant,
}

fn testbed() -> Testbed {
    let tallies = AccountingRegistry::new(TTL);
    Testbed {
        registry: Registry::new(tallies.clone()),
        tallies,
        now: Instant::now() + TTL,
    }
}

impl Testbed {
    fn take(&mut self, gateway: &str, report: &GatewayReport) -> Outcome {
        let taken = self.registry.take(gateway, report, START_MS, self.now);
        taken.unwrap()
    }

    /// Streams of an engine, according to the registry and to the accounting.
    fn stream_counts(&self, engine: &str) -> (usize, u32) {
        let of_it = self.registry.engines().find(|(_, e, _)| *e == engine);
        let tally = self
            .tallies
            .get_or_create(&Arc::from("p"), &EngineName::from(engine));
        let open = tally.snapshot(self.now).open;
        (of_it.map_or(0, |(_, _, n)| n), open)
    }
}

#[test]
fn a_stream_that_returns_from_another_replica_counts_again() {
    let mut w = testbed();
    w.take("g", &opened(1, &[("a", "s", "e")]));
    w.tallies.transferred("a", "p/e");
    assert_eq!(w.stream_counts("e"), (1, 0));
    w.take(
        "g",
        &full(FullSyncPart::Whole, opened(2, &[("a", "s", "e")])),
    );
    assert_eq!(w.stream_counts("e"), (1, 1));
    w.take("g", &closed(3, &["a"]));
    assert_eq!(w.stream_counts("e"), (0, 0));
}

#[test]
fn streams_open_and_close() {
    let mut w = testbed();
    let outcome = w.take(
        "g",
        &opened(1, &[("a", "s", "e"), ("b", "s", "e"), ("c", "t", "f")]),
    );
    assert_eq!((outcome.resync, outcome.look), (false, true));
    assert_eq!(
        (w.stream_counts("e"), w.stream_counts("f")),
        ((2, 2), (1, 1))
    );
    assert_eq!(w.registry.sessions.streams("s").count(), 2);
    let outcome = w.take("g", &closed(2, &["a", "c", "nobody's"]));
    assert_eq!(outcome.closed, [CloseReason::Ended, CloseReason::Ended]);
    assert_eq!(
        (w.stream_counts("e"), w.stream_counts("f")),
        ((1, 1), (0, 0))
    );
    assert_eq!(w.registry.sessions.streams("t").count(), 0);
    // A gateway cannot close a stream of another one.
    w.take("h", &closed(1, &["b"]));
    assert_eq!(w.stream_counts("e"), (1, 1));
}

#[test]
fn a_refused_upgrade_releases_its_reservation() {
    let mut w = testbed();
    let tally = w
        .tallies
        .get_or_create(&Arc::from("p"), &EngineName::from("e"));
    w.tallies.placed(tally.reserve(1), "a", w.now);
    assert_eq!(tally.snapshot(w.now).own, 1);
    let outcome = w.take("g", &closed(1, &["a"]));
    assert_eq!((tally.snapshot(w.now).own, outcome.closed.len()), (0, 0));
}

#[test]
fn a_placement_becomes_a_stream() {
    let mut w = testbed();
    let tally = w
        .tallies
        .get_or_create(&Arc::from("p"), &EngineName::from("e"));
    w.tallies.placed(tally.reserve(1), "a", w.now);
    w.take("g", &opened(1, &[("a", "s", "e")]));
    let standing = tally.snapshot(w.now + 2 * TTL);
    assert_eq!((standing.own, standing.open), (1, 1));
}

#[test]
fn a_lost_report_requires_the_full_list() {
    let mut w = testbed();
    w.take("g", &opened(1, &[("a", "s", "e")]));
    assert_eq!(w.registry.turn("g", 3), Turn::Early);
    let outcome = w.take("g", &opened(3, &[("c", "s", "e")]));
    assert!(outcome.resync && outcome.resync_is_news);
    assert_eq!(
        w.stream_counts("e"),
        (2, 2),
        "it is open although a report is missing"
    );
    // The missing report arrives late.
    let late = w.take("g", &closed(2, &["c"]));
    assert!(late.resync && !late.resync_is_news);
    assert_eq!(w.stream_counts("e"), (2, 2));
    let whole = full(
        FullSyncPart::Whole,
        opened(4, &[("c", "s", "e"), ("d", "t", "e")]),
    );
    let outcome = w.take("g", &whole);
    assert_eq!((outcome.resync, outcome.lost), (false, 1), "a is gone");
    assert_eq!(w.stream_counts("e"), (2, 2));
    assert!(!w.registry.wants_list("g"));
}

#[test]
fn an_unknown_gateway_with_earlier_reports_requires_the_full_list() {
    let mut w = testbed();
    let outcome = w.take("g", &opened(57, &[("a", "s", "e")]));
    assert!(outcome.resync && outcome.resync_is_news);
    assert_eq!(w.stream_counts("e"), (1, 1));
    assert_eq!(w.registry.turn("g", 58), Turn::Now);
    assert!(w.take("g", &closed(58, &[])).resync, "until it arrives");
}

#[test]
fn a_list_in_parts_is_complete_with_its_last_part() {
    let mut w = testbed();
    w.take("g", &opened(1, &[("a", "s", "e"), ("b", "s", "e")]));
    w.take(
        "g",
        &full(FullSyncPart::First, opened(2, &[("c", "s", "e")])),
    );
    // Between two parts a stream opens, and a listed one closes.
    w.take("g", &opened(3, &[("d", "s", "e")]));
    w.take("g", &closed(4, &["c"]));
    w.take(
        "g",
        &full(FullSyncPart::Middle, opened(5, &[("b", "s", "e")])),
    );
    assert_eq!(w.stream_counts("e"), (3, 3), "a, b and d");
    let outcome = w.take("g", &full(FullSyncPart::Last, opened(6, &[])));
    assert_eq!((outcome.lost, outcome.resync), (1, false));
    assert_eq!(w.stream_counts("e"), (2, 2));
    // Parts without a first one, or with a gap before them, are not a list.
    assert!(
        w.take("g", &full(FullSyncPart::Last, opened(7, &[])))
            .resync
    );
    w.take(
        "g",
        &full(FullSyncPart::First, opened(8, &[("b", "s", "e")])),
    );
    let outcome = w.take("g", &full(FullSyncPart::Last, opened(10, &[])));
    assert_eq!((outcome.lost, outcome.resync), (0, true));
    assert_eq!(w.stream_counts("e"), (2, 2));
}

#[test]
fn a_stream_counts_once_as_in_the_latest_report() {
    let mut w = testbed();
    w.take("g", &opened(1, &[("a", "s", "e"), ("a", "s", "e")]));
    assert_eq!(w.stream_counts("e"), (1, 1));
    w.take("h", &opened(1, &[("a", "s", "f")]));
    assert_eq!(
        (w.stream_counts("e"), w.stream_counts("f")),
        ((0, 0), (1, 1))
    );
    w.take("g", &closed(2, &["a"]));
    assert_eq!(w.stream_counts("f"), (1, 1));
}

#[test]
fn a_silent_gateway_loses_its_streams() {
    let mut w = testbed();
    w.take("g", &opened(1, &[("a", "s", "e")]));
    w.now += Duration::from_secs(GATEWAY_TIMEOUT_S);
    assert_eq!(
        w.registry.forget_silent(w.now - Duration::from_millis(1)),
        0
    );
    assert_eq!(w.registry.forget_silent(w.now), 1);
    assert_eq!(w.stream_counts("e"), (0, 0));
    assert_eq!(w.registry.sessions.len(), (0, 0));
    assert!(w.registry.wants_list("g"));
    assert_eq!(w.registry.gateways(w.now), []);
}

#[test]
fn reports_beyond_the_limits_are_rejected() {
    let mut w = testbed();
    for n in 0..MAX_GATEWAYS {
        w.take(&n.to_string(), &opened(1, &[]));
    }
    let more = w
        .registry
        .take("one more", &opened(1, &[]), START_MS, w.now);
    assert_eq!(more, Err(Full::Gateways));
    let names: Vec<_> = (0..MAX_STREAMS_PER_GATEWAY)
        .map(|n| n.to_string())
        .collect();
    for (n, part) in names.chunks(500).enumerate() {
        let part: Vec<_> = part.iter().map(|name| (name.as_str(), "s", "e")).collect();
        w.take("0", &opened(n as u64 + 2, &part));
    }
    let more = opened(202, &[("x", "s", "e")]);
    let taken = w.registry.take("0", &more, START_MS, w.now);
    assert_eq!(taken, Err(Full::Streams));
    assert_eq!(w.registry.turn("0", 202), Turn::Now, "it was not applied");
    // Known streams need no room, in a full list and in another report.
    for (n, part) in names.chunks(500).enumerate() {
        let part: Vec<_> = part.iter().map(|name| (name.as_str(), "s", "e")).collect();
        let of_list = match n {
            0 => FullSyncPart::First,
            199 => FullSyncPart::Last,
            _ => FullSyncPart::Middle,
        };
        let outcome = w.take("0", &full(of_list, opened(n as u64 + 202, &part)));
        assert_eq!((outcome.resync, outcome.lost), (false, 0));
    }
    assert_eq!(w.stream_counts("e").0, MAX_STREAMS_PER_GATEWAY);
    // A new stream among known ones exceeds the limit. After one has closed, it fits.
    let known = names[0].as_str();
    let mixed = [(known, "s", "e"), ("x", "s", "e"), ("x", "s", "e")];
    let taken = w.registry.take("0", &opened(402, &mixed), START_MS, w.now);
    assert_eq!(taken, Err(Full::Streams));
    w.take("0", &closed(402, &[names[1].as_str()]));
    w.take("0", &opened(403, &mixed));
    assert_eq!(w.stream_counts("e").0, MAX_STREAMS_PER_GATEWAY);
}

#[test]
fn an_engine_with_a_new_address_is_accounted_apart_from_streams_of_the_old_one() {
    let mut w = testbed();
    let (pool, name) = (Arc::from("p"), EngineName::from("e"));
    let at = |port: u16| Endpoint {
        api: ([127, 0, 0, 1], port).into(),
        metrics: None,
    };
    let old = w.tallies.register(&pool, &name, at(1));
    w.tallies.placed(old.reserve(1), "a", w.now);
    w.take("g", &opened(1, &[("a", "s", "e")]));
    let new = w.tallies.register(&pool, &name, at(2));
    w.tallies.placed(new.reserve(1), "b", w.now);
    w.take("g", &opened(2, &[("b", "s", "e")]));
    let open = |tally: &EngineAccounting, at| tally.snapshot(at).open;
    assert_eq!((open(&old, w.now), open(&new, w.now)), (1, 1));
    // An open stream does not expire.
    assert_eq!(open(&new, w.now + 2 * TTL), 1);
    w.take("g", &closed(3, &["a", "b"]));
    assert_eq!((open(&old, w.now), open(&new, w.now)), (0, 0));
}

#[test]
fn a_session_is_checked_when_a_stream_opens_and_when_scheduled() {
    let mut w = testbed();
    w.take("g", &opened(1, &[("a", "s", "e"), ("b", "t", "e")]));
    let sessions = &mut w.registry.sessions;
    assert_eq!(sessions.take_due(START_MS, 9).len(), 2);
    assert_eq!(sessions.take_due(START_MS, 9).len(), 0);
    sessions.look_at("s", START_MS + 9);
    sessions.look_at("s", START_MS + 5);
    sessions.look_at("s", START_MS + 7);
    sessions.look_at("nobody", START_MS);
    assert_eq!(sessions.take_due(START_MS + 4, 9).len(), 0);
    assert_eq!(&*sessions.take_due(START_MS + 5, 9)[0], "s");
    assert_eq!(sessions.len(), (2, 0));
    sessions.look_at("s", START_MS + 5);
    // A full list schedules all sessions of the gateway immediately.
    let whole = full(
        FullSyncPart::Whole,
        opened(2, &[("a", "s", "e"), ("b", "t", "e")]),
    );
    assert!(w.take("g", &whole).look);
    assert_eq!(w.registry.sessions.take_due(0, 9).len(), 2);
    w.registry.sessions.look_at("t", 1);
    w.take("g", &closed(3, &["a", "b"]));
    assert_eq!(w.registry.sessions.len(), (0, 0));
}

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
                        let tally = w.tallies.get_or_create(&Arc::from("p"), &engine);
                        w.tallies.placed(tally.reserve(1), &name, w.now);
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
                    let (tallies, now) = (AccountingRegistry::new(TTL), w.now);
                    w = Testbed { registry: Registry::new(tallies.clone()), tallies, now };
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
            let tally = w.tallies.get_or_create(&Arc::from("p"), &EngineName::from(engine));
            prop_assert_eq!(tally.snapshot(w.now).own as usize, open);
        }
        let all: usize = workers.iter().map(|worker| worker.open.len()).sum();
        prop_assert_eq!(w.registry.streams.len(), all);
        // Silent gateways leave nothing behind.
        w.registry.forget_silent(w.now + Duration::from_secs(GATEWAY_TIMEOUT_S));
        prop_assert_eq!(w.registry.sessions.len(), (0, 0));
        prop_assert!(w.registry.engines.is_empty() && w.registry.streams.is_empty());
        prop_assert_eq!((w.stream_counts("e"), w.stream_counts("f")), ((0, 0), (0, 0)));
    }
}
