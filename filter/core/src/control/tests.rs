//! A gateway as a whole: the order of its polls and reports, and the effects of responses.

use super::*;
use serde_json::{Value, json};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const GOLDEN: &str = include_str!("../../../../tests/fixtures/contract/gateway_answer.json");
const SETTINGS: Settings = Settings {
    poll_timeout_ms: 5_000,
    stale_after_ms: 10_000,
};

fn gateway() -> Gateway {
    let identity = Identity {
        node: Some("edge-1".to_owned()),
        version: "1.2.3".to_owned(),
        started_at: 0,
    };
    Gateway::new(0xabc, identity, SETTINGS, 500)
}

fn open(gateway: &mut Gateway, id: u32, now: u64) -> FrameInterceptor {
    let placed = PlacedStream {
        stream: format!("s{id}"),
        session_ref: "k1Jt0yqSxv2P".to_owned(),
        pool: "qix".to_owned(),
        engine: "engine-0".to_owned(),
        reason: String::new(),
        session_expires_at: u64::MAX,
        max_age: None,
        key: None,
        counts_activity: true,
    };
    gateway.open(id, placed, now, 0.5)
}

/// A poll that the service may hold for `poll_timeout_ms`.
fn poll_body(sequence: u64, cursor: &str, poll_timeout_ms: u32, uptime_ms: u64) -> Value {
    let identity = json!({"node": "edge-1", "version": "1.2.3", "uptime_ms": uptime_ms});
    json!({"sequence": sequence, "identity": identity, "cursor": cursor, "poll_timeout_ms": poll_timeout_ms})
}

/// A tick that resets no stream.
fn tick(gateway: &mut Gateway, now: u64) -> TickActions {
    assert_eq!(gateway.begin_tick(now).resets, Vec::<u32>::new());
    gateway.tick_actions(now)
}

fn poll(actions: &TickActions) -> Value {
    serde_json::from_slice(&actions.poll.as_ref().unwrap().0).unwrap()
}

fn report(actions: &TickActions) -> Value {
    serde_json::from_slice(actions.report.as_ref().unwrap()).unwrap()
}

fn answer(gateway: &mut Gateway, now: u64, body: &Value) -> Option<Invalidation> {
    gateway.on_poll(Some(body.to_string().as_bytes()), now, 0.5)
}

#[test]
fn its_path_contains_its_name() {
    let name = "00000000000000000000000000000abc";
    assert_eq!(gateway().path(), format!("/v1/gateways/{name}/events"));
}

#[test]
fn the_first_poll_gets_a_cursor_and_only_then_it_reports() {
    let mut gateway = gateway();
    assert_eq!(tick(&mut gateway, 0), TickActions::default());
    assert_eq!(gateway.period_ms(0), IDLE_TICK_MS);
    open(&mut gateway, 1, 0);
    assert_eq!(gateway.period_ms(0), ACTIVE_TICK_MS);
    let actions = tick(&mut gateway, 50);
    assert_eq!(poll(&actions), poll_body(1, "now", 0, 50));
    assert_eq!(tick(&mut gateway, 100), TickActions::default());
    let invalidation = answer(&mut gateway, 100, &json!({"cursor": "log-7"})).unwrap();
    assert!(
        invalidation.all,
        "sessions may have ended before the first poll"
    );
    let actions = tick(&mut gateway, 150);
    assert_eq!(poll(&actions), poll_body(2, "log-7", 5_000, 150));
    let actions = tick(&mut gateway, 200);
    assert_eq!(
        (report(&actions)["sequence"].clone(), actions.poll),
        (json!(3), None)
    );
    gateway.on_report(Some(b"{}"), 210).unwrap();
    assert_eq!(gateway.period_ms(210), IDLE_TICK_MS);
}

#[test]
fn reports_and_polls_alternate() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    let (mut polls, mut reports) = (0, 0);
    for step in 1..=200_u64 {
        let now = step * 50;
        open(&mut gateway, u32::try_from(step).unwrap() + 1, now);
        let actions = tick(&mut gateway, now);
        if actions.poll.is_some() {
            polls += 1;
            let _ = answer(&mut gateway, now, &json!({"cursor": "a"}));
        }
        if actions.report.is_some() {
            reports += 1;
            let _ = gateway.on_report(Some(b"{}"), now);
        }
    }
    assert!(
        polls > 100 && reports > 30,
        "{polls} polls, {reports} reports"
    );
}

#[test]
fn the_golden_answer_ends_a_session_drains_an_engine_and_asks_for_the_list() {
    let mut gateway = gateway();
    let mut interceptor = open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    let invalidation = gateway.on_poll(Some(GOLDEN.as_bytes()), 0, 0.5).unwrap();
    assert_eq!(
        (invalidation.sessions, invalidation.all),
        (vec!["k1Jt0yqSxv2P".to_owned()], true)
    );
    let key = "q0nR5x0f2bq8yqE1q1m5c8m2b3oJ7yH8wXl5J0uTn3E".to_owned();
    assert_eq!(invalidation.moved_keys, [(key, 4)]);
    let engine = ("notebooks".to_owned(), "engine-0".to_owned());
    assert_eq!(invalidation.closed_engines, [engine]);
    assert!(gateway.has_ended("k1Jt0yqSxv2P") && !gateway.has_ended("another"));
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let (action, _) = interceptor.on_chunk(6, 0, |_, _| Some(ping));
    assert!(
        matches!(action, crate::streams::ChunkAction::Close { keep: 0, .. }),
        "{action:?}"
    );
    tick(&mut gateway, 50);
    assert_eq!(report(&tick(&mut gateway, 100))["full"], "whole");
    assert_eq!(gateway.begin_tick(600).resets, [1]);
    let reason = gateway.close(1, 610, StreamSummary::default()).unwrap();
    assert_eq!(reason, CloseReason::Expired);
    tick(&mut gateway, 60_000);
    assert!(!gateway.has_ended("k1Jt0yqSxv2P"));
}

#[test]
fn a_drained_gateway_refuses_if_told_so_until_it_is_undrained() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    let send_event = |gateway: &mut Gateway, event: Value| {
        answer(gateway, 0, &json!({"cursor": "a", "events": [event]})).unwrap();
        gateway.is_refusing()
    };
    let drained = |refuse| json!({"type": "gateway-drained", "over_ms": 10_000, "refuse": refuse});
    assert!(!send_event(
        &mut gateway,
        json!({"type": "gateway-drained", "over_ms": 10_000})
    ));
    assert!(send_event(&mut gateway, drained(true)));
    assert_eq!(poll(&tick(&mut gateway, 50))["identity"]["refusing"], true);
    assert!(!send_event(&mut gateway, drained(false)) && send_event(&mut gateway, drained(true)));
    assert!(!send_event(
        &mut gateway,
        json!({"type": "gateway-undrained"})
    ));
    // The only stream ends in the middle of its slot, and is reset as its client has been silent.
    assert_eq!(gateway.begin_tick(4_900).resets, Vec::<u32>::new());
    assert_eq!(gateway.begin_tick(5_000).resets, [1]);
    let closed = gateway.close(1, 5_010, StreamSummary::default()).unwrap();
    assert_eq!(closed, CloseReason::Drained);
}

#[test]
fn an_end_with_an_unknown_reason_is_a_revocation() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    let event =
        json!({"type": "session-ended", "session_ref": "k1Jt0yqSxv2P", "reason": "drained"});
    let unknown_event = json!({"type": "news"});
    answer(
        &mut gateway,
        0,
        &json!({"cursor": "a", "events": [unknown_event, event]}),
    )
    .unwrap();
    let closed = gateway.close(1, 0, StreamSummary::default()).unwrap();
    assert_eq!(closed, CloseReason::Revoked);
}

#[test]
fn missing_and_invalid_responses_are_failures_and_events_become_stale() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    answer(&mut gateway, 0, &json!({"cursor": "a"})).unwrap();
    let large = vec![b' '; MAX_ANSWER_BYTES + 1];
    let invalid: [Option<&[u8]>; 5] = [None, Some(b"junk"), Some(b"[]"), Some(b"{}"), Some(&large)];
    let mut failures = 0;
    for now in (50..9_000).step_by(50) {
        if tick(&mut gateway, now).poll.is_some() {
            let body = invalid[failures % invalid.len()];
            assert_eq!(gateway.on_poll(body, now, 0.5), None);
            failures += 1;
        }
    }
    assert!((5..13).contains(&failures), "{failures}");
    assert!(gateway.is_fresh(10_000) && !gateway.is_fresh(10_001));
}

#[test]
fn without_streams_polling_stops_after_a_while() {
    let mut gateway = gateway();
    gateway.want_events(0);
    let mut last = 0;
    for now in (0..200_000).step_by(1_000) {
        if tick(&mut gateway, now).poll.is_some() {
            last = now;
            answer(&mut gateway, now, &json!({"cursor": "a"})).unwrap();
        }
    }
    assert_eq!(last, 59_000);
    assert!(!gateway.is_fresh(199_000));
}

#[test]
fn a_clock_that_moves_back_blocks_no_reports_and_makes_events_stale() {
    const HOUR: u64 = 3_600_000;
    let mut gateway = gateway();
    open(&mut gateway, 1, HOUR);
    tick(&mut gateway, HOUR);
    answer(&mut gateway, HOUR, &json!({"cursor": "a"})).unwrap();
    gateway.active("k1Jt0yqSxv2P", HOUR);
    tick(&mut gateway, HOUR + 50);
    report(&tick(&mut gateway, HOUR + 1_000));
    gateway.on_report(Some(b"{}"), HOUR + 1_000).unwrap();
    assert!(gateway.is_fresh(HOUR + 1_000));

    // The poll in flight ends by the new time, or never.
    tick(&mut gateway, 1_000);
    assert!(!gateway.is_fresh(1_000));
    gateway.active("k1Jt0yqSxv2P", 1_000);
    let ticks: Vec<TickActions> = (1..40)
        .map(|n| tick(&mut gateway, 1_000 + n * 50))
        .collect();
    let reported = ticks
        .iter()
        .find(|actions| actions.report.is_some())
        .unwrap();
    assert_eq!(report(reported)["active"], json!(["k1Jt0yqSxv2P"]));
    assert!(ticks.iter().any(|actions| actions.poll.is_some()));
    let invalidation = answer(&mut gateway, 3_000, &json!({"cursor": "b"})).unwrap();
    assert!(invalidation.all && gateway.is_fresh(3_000));
    tick(&mut gateway, 3_050);
    assert!(
        !answer(&mut gateway, 3_100, &json!({"cursor": "c"}))
            .unwrap()
            .all
    );
}

#[test]
fn a_drain_closes_its_streams_one_after_the_other_between_polls() {
    let mut gateway = gateway();
    for id in 0..30 {
        open(&mut gateway, id, 0);
    }
    tick(&mut gateway, 0);
    let drained =
        json!({"type": "engine-drained", "pool": "qix", "engine": "engine-0", "over_ms": 12_000});
    answer(
        &mut gateway,
        0,
        &json!({"cursor": "a", "events": [drained]}),
    )
    .unwrap();
    let (mut now, mut closed) = (0, 0);
    while closed < 30 && now < 13_000 {
        // The service holds each poll, and confirms each report at once.
        if tick_resets(&mut gateway, now, &mut closed).report.is_some() {
            gateway.on_report(Some(b"{}"), now).unwrap();
        }
        now += u64::from(gateway.period_ms(now));
    }
    assert_eq!(closed, 30, "after {now} ms");
}

/// A tick that resets at most one stream.
fn tick_resets(gateway: &mut Gateway, now: u64, closed: &mut usize) -> TickActions {
    let resets = gateway.begin_tick(now).resets;
    assert!(resets.len() <= 1, "{resets:?} at {now} ms");
    for id in resets {
        gateway.close(id, now, StreamSummary::default()).unwrap();
        *closed += 1;
    }
    gateway.tick_actions(now)
}
