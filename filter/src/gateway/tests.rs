//! A gateway as a whole: the order of its calls, and what answers do.

use super::*;
use serde_json::{Value, json};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const GOLDEN: &str = include_str!("../../../tests/fixtures/contract/gateway_answer.json");
const SETTINGS: Settings = Settings {
    hold_ms: 5_000,
    lost_after_ms: 10_000,
};

fn gateway() -> Gateway {
    Gateway::new(0xabc, SETTINGS, 500)
}

fn open(gateway: &mut Gateway, id: u32, now: u64) -> Tap {
    let placed = Placed {
        stream: format!("s{id}"),
        session_ref: "k1Jt0yqSxv2P".to_owned(),
        pool: "qix".to_owned(),
        engine: "engine-0".to_owned(),
        reason: String::new(),
        session_expires_at: u64::MAX,
        max_age: None,
    };
    gateway.open(id, placed, now, 0.5)
}

/// A tick in which no stream is cut off.
fn tick(gateway: &mut Gateway, now: u64) -> Work {
    assert_eq!(gateway.begin_tick(now).resets, Vec::<u32>::new());
    gateway.work(now)
}

fn poll(work: &Work) -> Value {
    serde_json::from_slice(&work.poll.as_ref().unwrap().0).unwrap()
}

fn report(work: &Work) -> Value {
    serde_json::from_slice(work.report.as_ref().unwrap()).unwrap()
}

fn answer(gateway: &mut Gateway, now: u64, body: &Value) -> Option<Told> {
    gateway.on_poll(Some(body.to_string().as_bytes()), now, 0.5)
}

#[test]
fn its_path_has_a_name_of_its_own() {
    let name = "00000000000000000000000000000abc";
    assert_eq!(gateway().path(), format!("/v1/gateways/{name}/events"));
}

#[test]
fn first_it_asks_where_the_log_is_and_only_then_it_reports() {
    let mut gateway = gateway();
    assert_eq!(tick(&mut gateway, 0), Work::default());
    assert_eq!(gateway.period_ms(0), IDLE_MS);
    open(&mut gateway, 1, 0);
    assert_eq!(gateway.period_ms(0), BUSY_MS);
    let work = tick(&mut gateway, 50);
    assert_eq!(
        poll(&work),
        json!({"sequence": 1, "cursor": "now", "hold_ms": 0})
    );
    assert_eq!(tick(&mut gateway, 100), Work::default());
    let told = answer(&mut gateway, 100, &json!({"cursor": "log-7"})).unwrap();
    assert!(told.lost, "what was cached before may have ended unheard");
    let work = tick(&mut gateway, 150);
    assert_eq!(
        poll(&work),
        json!({"sequence": 2, "cursor": "log-7", "hold_ms": 5_000})
    );
    let work = tick(&mut gateway, 200);
    assert_eq!(
        (report(&work)["sequence"].clone(), work.poll),
        (json!(3), None)
    );
    gateway.on_report(Some(b"{}"), 210).unwrap();
    assert_eq!(gateway.period_ms(210), IDLE_MS);
}

#[test]
fn neither_reports_nor_polls_starve() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    let (mut polls, mut reports) = (0, 0);
    for step in 1..=200_u64 {
        let now = step * 50;
        open(&mut gateway, u32::try_from(step).unwrap() + 1, now);
        let work = tick(&mut gateway, now);
        if work.poll.is_some() {
            polls += 1;
            let _ = answer(&mut gateway, now, &json!({"cursor": "a"}));
        }
        if work.report.is_some() {
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
    let mut tap = open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    let told = gateway.on_poll(Some(GOLDEN.as_bytes()), 0, 0.5).unwrap();
    assert_eq!(
        (told.ended, told.lost),
        (vec!["k1Jt0yqSxv2P".to_owned()], true)
    );
    assert!(gateway.has_ended("k1Jt0yqSxv2P") && !gateway.has_ended("another"));
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    let (pass, _) = tap.chunk(6, 0, |_, _| Some(ping));
    assert!(
        matches!(pass, crate::streams::Pass::Close { keep: 0, .. }),
        "{pass:?}"
    );
    tick(&mut gateway, 50);
    assert_eq!(report(&tick(&mut gateway, 100))["full"], "whole");
    assert_eq!(gateway.begin_tick(600).resets, [1]);
    let reason = gateway.close(1, 610, Ending::default()).unwrap();
    assert_eq!(reason, CloseReason::Expired);
    tick(&mut gateway, 60_000);
    assert!(!gateway.has_ended("k1Jt0yqSxv2P"));
}

#[test]
fn an_end_without_a_known_reason_is_a_revocation() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    let event =
        json!({"type": "session-ended", "session_ref": "k1Jt0yqSxv2P", "reason": "drained"});
    let news = json!({"type": "news"});
    answer(
        &mut gateway,
        0,
        &json!({"cursor": "a", "events": [news, event]}),
    )
    .unwrap();
    let closed = gateway.close(1, 0, Ending::default()).unwrap();
    assert_eq!(closed, CloseReason::Revoked);
}

#[test]
fn no_answer_and_a_wrong_one_are_failures_and_the_feed_is_lost_in_time() {
    let mut gateway = gateway();
    open(&mut gateway, 1, 0);
    tick(&mut gateway, 0);
    answer(&mut gateway, 0, &json!({"cursor": "a"})).unwrap();
    let large = vec![b' '; MAX_ANSWER_BYTES + 1];
    let wrong: [Option<&[u8]>; 5] = [None, Some(b"junk"), Some(b"[]"), Some(b"{}"), Some(&large)];
    let mut failures = 0;
    for now in (50..9_000).step_by(50) {
        if tick(&mut gateway, now).poll.is_some() {
            let body = wrong[failures % wrong.len()];
            assert_eq!(gateway.on_poll(body, now, 0.5), None);
            failures += 1;
        }
    }
    assert!((5..13).contains(&failures), "{failures}");
    assert!(gateway.is_fresh(10_000) && !gateway.is_fresh(10_001));
}

#[test]
fn without_streams_the_feed_goes_on_for_a_while_only() {
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
fn a_clock_that_is_set_back_stops_no_reports_and_keeps_nothing_fresh() {
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

    // The poll that is under way will be heard of by the new time, or never.
    tick(&mut gateway, 1_000);
    assert!(!gateway.is_fresh(1_000));
    gateway.active("k1Jt0yqSxv2P", 1_000);
    let works: Vec<Work> = (1..40)
        .map(|n| tick(&mut gateway, 1_000 + n * 50))
        .collect();
    let reported = works.iter().find(|work| work.report.is_some()).unwrap();
    assert_eq!(report(reported)["active"], json!(["k1Jt0yqSxv2P"]));
    assert!(works.iter().any(|work| work.poll.is_some()));
    let told = answer(&mut gateway, 3_000, &json!({"cursor": "b"})).unwrap();
    assert!(told.lost && gateway.is_fresh(3_000));
    tick(&mut gateway, 3_050);
    assert!(
        !answer(&mut gateway, 3_100, &json!({"cursor": "c"}))
            .unwrap()
            .lost
    );
}
