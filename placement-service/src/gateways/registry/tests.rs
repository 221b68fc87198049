//! Sequences of reports by hand.

use super::bounds::{MAX_GATEWAYS, MAX_STREAMS_PER_GATEWAY};
use super::*;
use berth_api::OpenStream;
use berth_scheduler::engine::Endpoint;

mod full_lists;
mod histories;

const START_MS: u64 = 1_700_000_000_000;
const TTL: Duration = Duration::from_secs(30);

fn stream(name: &str, session: &str, engine: &str) -> OpenStream {
    OpenStream {
        key: None,
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
        close_code: None,
    });
    GatewayReport {
        sequence,
        closed: streams.collect(),
        ..GatewayReport::default()
    }
}

struct Testbed {
    registry: Registry,
    accounting_registry: AccountingRegistry,
    now: Instant,
}

fn testbed() -> Testbed {
    let registry = AccountingRegistry::new(TTL);
    Testbed {
        registry: Registry::new(registry.clone()),
        accounting_registry: registry,
        now: Instant::now() + TTL,
    }
}

impl Testbed {
    fn take(&mut self, gateway: &str, report: &GatewayReport) -> Outcome {
        let outcome = self.registry.apply(gateway, report, START_MS, self.now);
        outcome.unwrap()
    }

    /// Streams of an engine, according to the registry and to the accounting.
    fn stream_counts(&self, engine: &str) -> (usize, u32) {
        let counts = self.registry.engines().find(|(_, e, _)| *e == engine);
        let accounting = self
            .accounting_registry
            .get_or_create(&Arc::from("p"), &EngineName::from(engine));
        let open = accounting.snapshot(self.now).open;
        (counts.map_or(0, |(_, _, n)| n), open)
    }
}

#[test]
fn a_stream_that_returns_from_another_replica_counts_again() {
    let mut testbed = testbed();
    testbed.take("g", &opened(1, &[("a", "s", "e")]));
    testbed.accounting_registry.transferred("a", "p/e");
    assert_eq!(testbed.stream_counts("e"), (1, 0));
    testbed.take(
        "g",
        &full(FullSyncPart::Whole, opened(2, &[("a", "s", "e")])),
    );
    assert_eq!(testbed.stream_counts("e"), (1, 1));
    testbed.take("g", &closed(3, &["a"]));
    assert_eq!(testbed.stream_counts("e"), (0, 0));
}

#[test]
fn streams_open_and_close() {
    let mut testbed = testbed();
    let outcome = testbed.take(
        "g",
        &opened(1, &[("a", "s", "e"), ("b", "s", "e"), ("c", "t", "f")]),
    );
    assert_eq!((outcome.resync, outcome.check_sessions), (false, true));
    assert_eq!(
        (testbed.stream_counts("e"), testbed.stream_counts("f")),
        ((2, 2), (1, 1))
    );
    assert_eq!(testbed.registry.sessions.streams("s").count(), 2);
    let outcome = testbed.take("g", &closed(2, &["a", "c", "nobody's"]));
    assert_eq!(outcome.closed, [CloseReason::Ended, CloseReason::Ended]);
    assert_eq!(
        (testbed.stream_counts("e"), testbed.stream_counts("f")),
        ((1, 1), (0, 0))
    );
    assert_eq!(testbed.registry.sessions.streams("t").count(), 0);
    // A gateway cannot close a stream of another one.
    testbed.take("h", &closed(1, &["b"]));
    assert_eq!(testbed.stream_counts("e"), (1, 1));
}

#[test]
fn a_refused_upgrade_releases_its_reservation() {
    let mut testbed = testbed();
    let accounting = testbed
        .accounting_registry
        .get_or_create(&Arc::from("p"), &EngineName::from("e"));
    testbed
        .accounting_registry
        .placed(accounting.reserve(1), "a", testbed.now);
    assert_eq!(accounting.snapshot(testbed.now).own, 1);
    let outcome = testbed.take("g", &closed(1, &["a"]));
    assert_eq!(
        (accounting.snapshot(testbed.now).own, outcome.closed.len()),
        (0, 0)
    );
}

#[test]
fn a_placement_becomes_a_stream() {
    let mut testbed = testbed();
    let accounting = testbed
        .accounting_registry
        .get_or_create(&Arc::from("p"), &EngineName::from("e"));
    testbed
        .accounting_registry
        .placed(accounting.reserve(1), "a", testbed.now);
    testbed.take("g", &opened(1, &[("a", "s", "e")]));
    let snapshot = accounting.snapshot(testbed.now + 2 * TTL);
    assert_eq!((snapshot.own, snapshot.open), (1, 1));
}

#[test]
fn a_stream_counts_once_as_in_the_latest_report() {
    let mut testbed = testbed();
    testbed.take("g", &opened(1, &[("a", "s", "e"), ("a", "s", "e")]));
    assert_eq!(testbed.stream_counts("e"), (1, 1));
    testbed.take("h", &opened(1, &[("a", "s", "f")]));
    assert_eq!(
        (testbed.stream_counts("e"), testbed.stream_counts("f")),
        ((0, 0), (1, 1))
    );
    testbed.take("g", &closed(2, &["a"]));
    assert_eq!(testbed.stream_counts("f"), (1, 1));
}

#[test]
fn a_silent_gateway_loses_its_streams() {
    let mut testbed = testbed();
    testbed.take("g", &opened(1, &[("a", "s", "e")]));
    testbed.now += Duration::from_secs(GATEWAY_TIMEOUT_S);
    assert_eq!(
        testbed
            .registry
            .remove_silent(testbed.now - Duration::from_millis(1)),
        0
    );
    assert_eq!(testbed.registry.remove_silent(testbed.now), 1);
    assert_eq!(testbed.stream_counts("e"), (0, 0));
    assert_eq!(testbed.registry.sessions.len(), (0, 0));
    assert!(testbed.registry.needs_full_list("g"));
    assert_eq!(testbed.registry.gateways(testbed.now), []);
}

#[test]
fn reports_beyond_the_limits_are_rejected() {
    let mut testbed = testbed();
    for n in 0..MAX_GATEWAYS {
        testbed.take(&n.to_string(), &opened(1, &[]));
    }
    let extra_gateway = testbed
        .registry
        .apply("one more", &opened(1, &[]), START_MS, testbed.now);
    assert_eq!(extra_gateway, Err(LimitExceeded::Gateways));
    let names: Vec<_> = (0..MAX_STREAMS_PER_GATEWAY)
        .map(|n| n.to_string())
        .collect();
    for (n, part) in names.chunks(500).enumerate() {
        let streams: Vec<_> = part.iter().map(|name| (name.as_str(), "s", "e")).collect();
        testbed.take("0", &opened(n as u64 + 2, &streams));
    }
    let extra_streams = opened(202, &[("x", "s", "e")]);
    let outcome = testbed
        .registry
        .apply("0", &extra_streams, START_MS, testbed.now);
    assert_eq!(outcome, Err(LimitExceeded::Streams));
    assert_eq!(
        testbed.registry.check_sequence("0", 202),
        SequenceCheck::InOrder,
        "it was not applied"
    );
    // Known streams need no room, in a full list and in another report.
    for (n, part) in names.chunks(500).enumerate() {
        let streams: Vec<_> = part.iter().map(|name| (name.as_str(), "s", "e")).collect();
        let of_list = match n {
            0 => FullSyncPart::First,
            199 => FullSyncPart::Last,
            _ => FullSyncPart::Middle,
        };
        let outcome = testbed.take("0", &full(of_list, opened(n as u64 + 202, &streams)));
        assert_eq!((outcome.resync, outcome.lost), (false, 0));
    }
    assert_eq!(testbed.stream_counts("e").0, MAX_STREAMS_PER_GATEWAY);
    // A new stream among known ones exceeds the limit. After one has closed, it fits.
    let known_stream = names[0].as_str();
    let mixed = [(known_stream, "s", "e"), ("x", "s", "e"), ("x", "s", "e")];
    let outcome = testbed
        .registry
        .apply("0", &opened(402, &mixed), START_MS, testbed.now);
    assert_eq!(outcome, Err(LimitExceeded::Streams));
    testbed.take("0", &closed(402, &[names[1].as_str()]));
    testbed.take("0", &opened(403, &mixed));
    assert_eq!(testbed.stream_counts("e").0, MAX_STREAMS_PER_GATEWAY);
}

#[test]
fn an_engine_with_a_new_address_is_accounted_apart_from_streams_of_the_old_one() {
    let mut testbed = testbed();
    let (pool, name) = (Arc::from("p"), EngineName::from("e"));
    let endpoint_at = |port: u16| Endpoint {
        api: ([127, 0, 0, 1], port).into(),
        metrics: None,
    };
    let old_accounting = testbed
        .accounting_registry
        .register(&pool, &name, endpoint_at(1));
    testbed
        .accounting_registry
        .placed(old_accounting.reserve(1), "a", testbed.now);
    testbed.take("g", &opened(1, &[("a", "s", "e")]));
    let new_accounting = testbed
        .accounting_registry
        .register(&pool, &name, endpoint_at(2));
    testbed
        .accounting_registry
        .placed(new_accounting.reserve(1), "b", testbed.now);
    testbed.take("g", &opened(2, &[("b", "s", "e")]));
    let open = |accounting: &EngineAccounting, at| accounting.snapshot(at).open;
    assert_eq!(
        (
            open(&old_accounting, testbed.now),
            open(&new_accounting, testbed.now)
        ),
        (1, 1)
    );
    // An open stream does not expire.
    assert_eq!(open(&new_accounting, testbed.now + 2 * TTL), 1);
    testbed.take("g", &closed(3, &["a", "b"]));
    assert_eq!(
        (
            open(&old_accounting, testbed.now),
            open(&new_accounting, testbed.now)
        ),
        (0, 0)
    );
}

#[test]
fn a_session_is_checked_when_a_stream_opens_and_when_scheduled() {
    let mut testbed = testbed();
    testbed.take("g", &opened(1, &[("a", "s", "e"), ("b", "t", "e")]));
    let sessions = &mut testbed.registry.sessions;
    assert_eq!(sessions.take_due(START_MS, 9).len(), 2);
    assert_eq!(sessions.take_due(START_MS, 9).len(), 0);
    sessions.schedule_check("s", START_MS + 9);
    sessions.schedule_check("s", START_MS + 5);
    sessions.schedule_check("s", START_MS + 7);
    sessions.schedule_check("nobody", START_MS);
    assert_eq!(sessions.take_due(START_MS + 4, 9).len(), 0);
    assert_eq!(&*sessions.take_due(START_MS + 5, 9)[0], "s");
    assert_eq!(sessions.len(), (2, 0));
    sessions.schedule_check("s", START_MS + 5);
    // A full list schedules all sessions of the gateway immediately.
    let full_report = full(
        FullSyncPart::Whole,
        opened(2, &[("a", "s", "e"), ("b", "t", "e")]),
    );
    assert!(testbed.take("g", &full_report).check_sessions);
    assert_eq!(testbed.registry.sessions.take_due(0, 9).len(), 2);
    testbed.registry.sessions.schedule_check("t", 1);
    testbed.take("g", &closed(3, &["a", "b"]));
    assert_eq!(testbed.registry.sessions.len(), (0, 0));
}
