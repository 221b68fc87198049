//! Which streams end, when, with which reason.

use super::*;
use crate::route::MaxAge;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const GRACE: u64 = 500;
/// A client's text frame of one byte.
const FRAME: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'x'];

fn placed(session: &str, engine: &str) -> Placed {
    Placed {
        stream: format!("stream-of-{session}"),
        session_ref: session.to_owned(),
        pool: "qix".to_owned(),
        engine: engine.to_owned(),
        reason: "least-load".to_owned(),
        session_expires_at: 3_600,
        max_age: None,
    }
}

fn streams() -> Streams {
    Streams::new(GRACE)
}

fn said(tap: &mut Tap, bytes: &[u8], now: u64) -> Pass {
    let read = |start: usize, max: usize| bytes.get(start..bytes.len().min(start + max));
    tap.chunk(bytes.len(), now, read).0
}

fn reason(streams: &mut Streams, id: u32, now: u64) -> CloseReason {
    let ending = Ending {
        status: Some(101),
        received: 3,
        sent: 4,
    };
    streams.close(id, now, ending).unwrap().reason
}

#[test]
fn a_chatty_client_gets_a_close_frame_and_is_cut_off_after_it() {
    let mut streams = streams();
    let mut tap = streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(said(&mut tap, &FRAME, 9_000), Pass::All);
    streams.end_session("a", CloseReason::Revoked, 10_000);
    assert!(streams.is_closing());
    assert_eq!(streams.due(10_499), Due::default());
    let Pass::Close { keep, frame } = said(&mut tap, &FRAME, 10_499) else {
        panic!("no close frame");
    };
    assert_eq!(
        (keep, &frame[..8]),
        (0, &[0x88, 0x8f, 0, 0, 0, 0, 0x11, 0x33][..])
    );
    streams.closing(1, 10_499);
    assert_eq!(said(&mut tap, &FRAME, 10_500), Pass::Nothing);
    assert_eq!(streams.due(10_998).resets, [0_u32; 0]);
    assert_eq!(streams.due(10_999).resets, [1]);
    // Only should the host not have done it, once more.
    assert_eq!(streams.due(11_000).resets, [0_u32; 0]);
    assert_eq!(streams.due(15_999).resets, [1]);
    assert_eq!(reason(&mut streams, 1, 11_000), CloseReason::Revoked);
    assert!(!streams.is_closing() && streams.is_empty() && streams.due(u64::MAX).resets.is_empty());
}

#[test]
fn a_silent_client_is_cut_off_at_once() {
    let mut streams = streams();
    streams.open(1, placed("a", "e"), 0, 0.5);
    streams.end_session("a", CloseReason::Expired, 60_000);
    assert_eq!(streams.due(60_000).resets, [1]);
    assert_eq!(reason(&mut streams, 1, 60_010), CloseReason::Expired);
}

#[test]
fn only_the_streams_of_that_session_end() {
    let mut streams = streams();
    for id in 0..4 {
        let session = if id % 2 == 0 { "a" } else { "b" };
        streams.open(id, placed(session, "e"), 0, 0.5);
    }
    assert_eq!(reason(&mut streams, 0, 1), CloseReason::Ended);
    streams.end_session("a", CloseReason::Revoked, 60_000);
    streams.end_session("a", CloseReason::Expired, 60_000);
    streams.end_session("nobody", CloseReason::Revoked, 60_000);
    assert_eq!(streams.due(61_000).resets, [2]);
    assert_eq!(reason(&mut streams, 2, 61_000), CloseReason::Revoked);
    assert_eq!(streams.len(), 2);
}

#[test]
fn the_close_frame_follows_the_frame_that_is_under_way() {
    let mut streams = streams();
    let mut tap = streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(said(&mut tap, &FRAME[..3], 0), Pass::All);
    streams.end_session("a", CloseReason::Revoked, 0);
    assert_eq!(said(&mut tap, &FRAME[3..5], 0), Pass::All);
    let chunk = [&FRAME[5..], &FRAME[..]].concat();
    let Pass::Close { keep, .. } = said(&mut tap, &chunk, 0) else {
        panic!("no close frame");
    };
    assert_eq!(keep, 2);
    assert_eq!(tap.received(), 14);
}

#[test]
fn a_client_whose_frames_cannot_be_told_apart_is_silenced() {
    let mut streams = streams();
    let mut tap = streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(said(&mut tap, b"\x81\x01x", 0), Pass::All);
    streams.end_session("a", CloseReason::Revoked, 0);
    assert_eq!(said(&mut tap, &FRAME, 0), Pass::Nothing);
    assert_eq!(streams.due(GRACE).resets, [1]);
}

#[test]
fn a_session_ends_by_time_without_being_told() {
    let mut streams = streams();
    streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(streams.due(3_599_999), Due::default());
    assert_eq!(streams.due(3_600_000).resets, [1]);
    assert_eq!(reason(&mut streams, 1, 0), CloseReason::Expired);
}

#[test]
fn a_greatest_age_is_warned_of_and_kept() {
    let mut streams = streams();
    let max_age = Some(MaxAge {
        ms: 100_000,
        jitter: 0.1,
    });
    let young = Placed {
        max_age,
        ..placed("a", "e")
    };
    streams.open(1, young.clone(), 0, 0.0);
    streams.open(2, young, 0, 1.0);
    let warned: Vec<u64> = (0..=100)
        .map(|second| second * 1_000)
        .filter(|now| streams.due(*now).warnings > 0)
        .collect();
    assert_eq!(warned, [80_000, 90_000]);
    assert_eq!(reason(&mut streams, 2, 90_001), CloseReason::TooOld);
    assert_eq!(reason(&mut streams, 1, 100_000), CloseReason::TooOld);
}

#[test]
fn a_drain_is_spread_evenly() {
    let mut streams = streams();
    for id in 0..1_000 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.open(5_000, placed("a", "other"), 0, 0.5);
    streams.drain("qix", "e", 10_000, 60_000, 0.7);
    streams.drain("qix", "e", 10_000, 60_000, 0.7);
    streams.drain("other", "e", 1, 60_000, 0.7);
    let mut most = 0;
    let mut cut = 0;
    for step in 0..=100 {
        let resets = streams.due(60_000 + step * 100).resets;
        most = most.max(resets.len());
        cut += resets.len();
        for id in resets {
            assert_eq!(reason(&mut streams, id, 0), CloseReason::Drained);
        }
    }
    assert_eq!((cut, streams.len()), (1_000, 1));
    assert!(most <= 15, "{most} in 100 ms, where 10 are even");
}

#[test]
fn a_second_drain_may_be_sooner_and_never_later() {
    let mut streams = streams();
    for id in 0..50 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.drain("qix", "e", 3_600_000, 60_000, 0.5);
    assert_eq!(streams.due(70_000).resets, [0_u32; 0]);
    streams.drain("qix", "e", 10_000, 70_000, 0.5);
    streams.drain("qix", "e", 3_600_000, 70_000, 0.5);
    let early = streams.due(75_000).resets;
    assert!((20..=30).contains(&early.len()), "{early:?}");
    for id in early {
        assert_eq!(reason(&mut streams, id, 0), CloseReason::Drained);
    }
    let late = streams.due(80_000).resets;
    assert_eq!(late.len(), streams.len());
}

#[test]
fn who_has_no_session_is_cut_off_before_those_of_a_drained_engine() {
    let mut streams = streams();
    for id in 0..1_000 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.open(1_000, placed("b", "other"), 0, 0.5);
    let brief = Placed {
        session_expires_at: 51,
        ..placed("c", "other")
    };
    streams.open(1_001, brief, 0, 0.5);
    streams.drain("qix", "e", 0, 50_000, 0.5);
    assert_eq!(streams.due(50_000).resets.len(), 100);
    streams.end_session("b", CloseReason::Revoked, 51_000);
    let resets = streams.due(51_000).resets;
    assert_eq!((resets.len(), &resets[..2]), (100, &[1_000, 1_001][..]));
    assert_eq!(reason(&mut streams, 1_001, 0), CloseReason::Expired);
    let left: usize = (0..9).map(|_| streams.due(51_000).resets.len()).sum();
    assert_eq!(left, 802);
}

#[test]
fn a_clock_that_is_set_back_leaves_spans_as_long_as_they_were() {
    const HOUR: u64 = 3_600_000;
    let mut streams = streams();
    let mortal = Placed {
        session_expires_at: 2 * 3_600,
        ..placed("a", "e")
    };
    let aging = Placed {
        max_age: Some(MaxAge {
            ms: 60_000,
            jitter: 0.0,
        }),
        ..mortal.clone()
    };
    let mut tap = streams.open(1, mortal.clone(), HOUR, 0.5);
    streams.open(2, aging, HOUR, 0.5);
    streams.open(3, mortal.clone(), HOUR, 0.5);
    streams.open(4, placed("b", "other"), HOUR, 0.5);
    streams.drain("qix", "e", 3_000, HOUR, 1.0);
    streams.end_session("b", CloseReason::Revoked, HOUR);
    assert_eq!(said(&mut tap, &FRAME, HOUR), Pass::All);
    streams.set_back(HOUR);
    assert_eq!(streams.due(GRACE).resets, [4]);
    // Doomed one second after the other; those who have spoken lately have a grace.
    let cut: Vec<u32> = (1..=10)
        .flat_map(|half| streams.due(half * 500).resets)
        .collect();
    assert_eq!(cut, [1, 2, 3]);
    let read = |start: usize, max: usize| FRAME.get(start..FRAME.len().min(start + max));
    let mut tap = streams.open(5, mortal, HOUR, 0.5);
    assert!(tap.chunk(FRAME.len(), HOUR, read).1.is_some());
    assert!(
        tap.chunk(FRAME.len(), 0, read).1.is_some(),
        "active by the new time"
    );
}

#[test]
fn a_burst_of_ends_is_cut_off_in_parts() {
    let mut streams = streams();
    for id in 0..250 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.end_session("a", CloseReason::Revoked, 60_000);
    let parts = [(); 4].map(|()| streams.due(60_000).resets.len());
    assert_eq!(parts, [100, 100, 50, 0]);
}

#[test]
fn how_a_stream_has_ended_is_told() {
    let mut streams = streams();
    for (id, status, expected) in [
        (1, Some(101), CloseReason::Ended),
        (2, Some(200), CloseReason::Ended),
        (3, None, CloseReason::Ended),
        (4, Some(503), CloseReason::Refused),
        (5, Some(403), CloseReason::Refused),
    ] {
        streams.open(id, placed("a", "e"), 1_000, 0.5);
        let ending = Ending {
            status,
            received: 3,
            sent: 4,
        };
        let closed = streams.close(id, 3_500, ending).unwrap();
        assert_eq!(closed.reason, expected);
        assert_eq!(
            (closed.duration_ms, closed.bytes_received, closed.bytes_sent),
            (2_500, 3, 4)
        );
        assert_eq!(streams.close(id, 3_500, ending), None);
    }
    assert!(streams.by_session.is_empty() && streams.deadlines.is_empty());
}

#[test]
fn data_is_activity_and_control_frames_are_none() {
    let mut streams = streams();
    let mut tap = streams.open(1, placed("a", "e"), 0, 0.5);
    let mut active = |bytes: &[u8], now| {
        let read = |start: usize, max: usize| bytes.get(start..bytes.len().min(start + max));
        tap.chunk(bytes.len(), now, read).1.is_some()
    };
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    assert!(!active(&ping, 0) && active(&FRAME, 0) && !active(&FRAME, 999));
    assert!(!active(&ping, 1_000) && active(&FRAME, 1_000));
}
