//! Which streams end, when, and with which reason.

use super::*;
use crate::routing::MaxAge;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

mod close_codes;
mod drains;

const CLOSE_TIMEOUT: u64 = 500;
/// A client's text frame of one byte.
const QIX_E: DrainTarget<'_> = DrainTarget::Engine {
    pool: "qix",
    engine: "e",
};
const FRAME: [u8; 7] = [0x81, 0x81, 0, 0, 0, 0, b'x'];

fn placed(session: &str, engine: &str) -> PlacedStream {
    PlacedStream {
        stream: format!("stream-of-{session}"),
        session_ref: session.to_owned(),
        pool: "qix".to_owned(),
        engine: engine.to_owned(),
        reason: "least-load".to_owned(),
        session_expires_at: 3_600,
        max_age: None,
        key: None,
        counts_activity: true,
    }
}

fn streams() -> Streams {
    Streams::new(CLOSE_TIMEOUT)
}

fn send(interceptor: &mut FrameInterceptor, bytes: &[u8], now: u64) -> ChunkAction {
    let read_chunk = |start: usize, max: usize| bytes.get(start..bytes.len().min(start + max));
    interceptor.on_chunk(bytes.len(), now, read_chunk).0
}

fn reason(streams: &mut Streams, id: u32, now: u64) -> CloseReason {
    let summary = StreamSummary {
        status: Some(101),
        received: 3,
        sent: 4,
    };
    streams.close(id, now, summary).unwrap().reason
}

#[test]
fn an_active_client_gets_a_close_frame_and_is_reset_after_the_timeout() {
    let mut streams = streams();
    let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(send(&mut interceptor, &FRAME, 9_000), ChunkAction::Forward);
    streams.end_session("a", CloseReason::Revoked, 10_000);
    assert!(streams.is_closing());
    assert_eq!(streams.due(10_499), DueActions::default());
    let ChunkAction::Close {
        keep: kept_bytes,
        frame,
    } = send(&mut interceptor, &FRAME, 10_499)
    else {
        panic!("no close frame");
    };
    assert_eq!(
        (kept_bytes, &frame[..8]),
        (0, &[0x88, 0x89, 0, 0, 0, 0, 0x11, 0x33][..])
    );
    assert_eq!(&frame[8..], CloseReason::Revoked.as_str().as_bytes());
    streams.close_frame_sent(1, 10_499);
    assert_eq!(send(&mut interceptor, &FRAME, 10_500), ChunkAction::Drop);
    assert_eq!(streams.due(10_998).resets, [0_u32; 0]);
    assert_eq!(streams.due(10_999).resets, [1]);
    // The reset is repeated in case that the host failed.
    assert_eq!(streams.due(11_000).resets, [0_u32; 0]);
    assert_eq!(streams.due(15_999).resets, [1]);
    assert_eq!(reason(&mut streams, 1, 11_000), CloseReason::Revoked);
    assert!(!streams.is_closing() && streams.is_empty() && streams.due(u64::MAX).resets.is_empty());
}

#[test]
fn a_silent_client_is_reset_at_once() {
    let mut streams = streams();
    streams.open(1, placed("a", "e"), 0, 0.5);
    streams.end_session("a", CloseReason::Expired, 60_000);
    assert_eq!(streams.due(60_000).resets, [1]);
    assert_eq!(reason(&mut streams, 1, 60_010), CloseReason::Expired);
}

#[test]
fn only_streams_of_the_ended_session_close() {
    let mut streams = streams();
    for id in 0..4 {
        let session = if id % 2 == 0 { "a" } else { "b" };
        streams.open(id, placed(session, "e"), 0, 0.5);
    }
    assert_eq!(reason(&mut streams, 0, 1), CloseReason::Ended);
    streams.end_session("a", CloseReason::Revoked, 60_000);
    streams.end_session("a", CloseReason::Expired, 60_000);
    streams.end_session("unknown", CloseReason::Revoked, 60_000);
    assert_eq!(streams.due(61_000).resets, [2]);
    assert_eq!(reason(&mut streams, 2, 61_000), CloseReason::Revoked);
    assert_eq!(streams.len(), 2);
}

#[test]
fn the_close_frame_follows_the_current_frame() {
    let mut streams = streams();
    let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(send(&mut interceptor, &FRAME[..3], 0), ChunkAction::Forward);
    streams.end_session("a", CloseReason::Revoked, 0);
    assert_eq!(
        send(&mut interceptor, &FRAME[3..5], 0),
        ChunkAction::Forward
    );
    let chunk = [&FRAME[5..], &FRAME[..]].concat();
    let ChunkAction::Close {
        keep: kept_bytes, ..
    } = send(&mut interceptor, &chunk, 0)
    else {
        panic!("no close frame");
    };
    assert_eq!(kept_bytes, 2);
    assert_eq!(interceptor.received(), 14);
}

#[test]
fn bytes_of_a_desynchronized_client_are_dropped_on_close() {
    let mut streams = streams();
    let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(
        send(&mut interceptor, b"\x81\x01x", 0),
        ChunkAction::Forward
    );
    streams.end_session("a", CloseReason::Revoked, 0);
    assert_eq!(send(&mut interceptor, &FRAME, 0), ChunkAction::Drop);
    assert_eq!(streams.due(CLOSE_TIMEOUT).resets, [1]);
}

#[test]
fn a_session_expires_without_an_event() {
    let mut streams = streams();
    streams.open(1, placed("a", "e"), 0, 0.5);
    assert_eq!(streams.due(3_599_999), DueActions::default());
    assert_eq!(streams.due(3_600_000).resets, [1]);
    assert_eq!(reason(&mut streams, 1, 0), CloseReason::Expired);
}

#[test]
fn a_maximum_age_warns_and_then_closes() {
    let mut streams = streams();
    let max_age = Some(MaxAge {
        ms: 100_000,
        jitter: 0.1,
    });
    let aging = PlacedStream {
        max_age,
        ..placed("a", "e")
    };
    streams.open(1, aging.clone(), 0, 0.0);
    streams.open(2, aging, 0, 1.0);
    let warning_times: Vec<u64> = (0..=100)
        .map(|second| second * 1_000)
        .filter(|now| streams.due(*now).warnings > 0)
        .collect();
    assert_eq!(warning_times, [80_000, 90_000]);
    assert_eq!(reason(&mut streams, 2, 90_001), CloseReason::TooOld);
    assert_eq!(reason(&mut streams, 1, 100_000), CloseReason::TooOld);
}

#[test]
fn a_clock_that_moves_back_keeps_time_spans() {
    const HOUR: u64 = 3_600_000;
    let mut streams = streams();
    let expiring = PlacedStream {
        session_expires_at: 2 * 3_600,
        ..placed("a", "e")
    };
    let aging = PlacedStream {
        max_age: Some(MaxAge {
            ms: 60_000,
            jitter: 0.0,
        }),
        ..expiring.clone()
    };
    let mut interceptor = streams.open(1, expiring.clone(), HOUR, 0.5);
    streams.open(2, aging, HOUR, 0.5);
    streams.open(3, expiring.clone(), HOUR, 0.5);
    streams.open(4, placed("b", "other"), HOUR, 0.5);
    streams.drain(QIX_E, 3_000, HOUR, 1.0);
    streams.end_session("b", CloseReason::Revoked, HOUR);
    assert_eq!(send(&mut interceptor, &FRAME, HOUR), ChunkAction::Forward);
    streams.clock_moved_back(HOUR);
    assert_eq!(streams.due(CLOSE_TIMEOUT).resets, [4]);
    // They close one second apart; recently active clients get the close timeout.
    let reset: Vec<u32> = (1..=10)
        .flat_map(|half| streams.due(half * 500).resets)
        .collect();
    assert_eq!(reset, [1, 2, 3]);
    let read_chunk = |start: usize, max: usize| FRAME.get(start..FRAME.len().min(start + max));
    let mut interceptor = streams.open(5, expiring, HOUR, 0.5);
    assert!(
        interceptor
            .on_chunk(FRAME.len(), HOUR, read_chunk)
            .1
            .is_some()
    );
    assert!(
        interceptor.on_chunk(FRAME.len(), 0, read_chunk).1.is_some(),
        "active by the new time"
    );
}

#[test]
fn many_resets_are_spread_over_ticks() {
    let mut streams = streams();
    for id in 0..250 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.end_session("a", CloseReason::Revoked, 60_000);
    let resets_per_tick = [(); 4].map(|()| streams.due(60_000).resets.len());
    assert_eq!(resets_per_tick, [100, 100, 50, 0]);
}

#[test]
fn the_close_reason_follows_from_the_response_status() {
    let mut streams = streams();
    for (id, status, expected) in [
        (1, Some(101), CloseReason::Ended),
        (2, Some(200), CloseReason::Ended),
        (3, None, CloseReason::Ended),
        (4, Some(503), CloseReason::Refused),
        (5, Some(403), CloseReason::Refused),
    ] {
        streams.open(id, placed("a", "e"), 1_000, 0.5);
        let summary = StreamSummary {
            status,
            received: 3,
            sent: 4,
        };
        let closed = streams.close(id, 3_500, summary).unwrap();
        assert_eq!(closed.reason, expected);
        assert_eq!(
            (closed.duration_ms, closed.bytes_received, closed.bytes_sent),
            (2_500, 3, 4)
        );
        assert_eq!(streams.close(id, 3_500, summary), None);
    }
    assert!(streams.by_session.is_empty() && streams.deadlines.is_empty());
}

#[test]
fn data_frames_are_activity_and_control_frames_are_not() {
    let mut streams = streams();
    let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
    let mut active = |bytes: &[u8], now| {
        let read_chunk = |start: usize, max: usize| bytes.get(start..bytes.len().min(start + max));
        interceptor
            .on_chunk(bytes.len(), now, read_chunk)
            .1
            .is_some()
    };
    let ping = [0x89, 0x80, 0, 0, 0, 0];
    assert!(!active(&ping, 0) && active(&FRAME, 0) && !active(&FRAME, 999));
    assert!(!active(&ping, 1_000) && active(&FRAME, 1_000));
}

#[test]
fn the_streams_of_a_key_close_together_with_those_that_join_them() {
    let mut streams = streams();
    let of_key = |session: &str, key: &str| PlacedStream {
        key: Some(key.into()),
        ..placed(session, "e")
    };
    // The first characters of a key say which share of the time passes.
    let late = "gAAAAAAAAA";
    streams.open(1, of_key("a", late), 1_000, 0.5);
    streams.open(2, of_key("b", late), 1_000, 0.5);
    streams.open(3, of_key("a", "QAAAAAAAAA"), 1_000, 0.5);
    let target = DrainTarget::Engine {
        pool: "qix",
        engine: "e",
    };
    streams.drain(target, 10_000, 2_000, 0.5);
    streams.open(4, of_key("c", late), 3_000, 0.5);
    streams.open(5, placed("d", "e"), 3_000, 0.5);
    let closing = |streams: &mut Streams, now| {
        streams.due(now);
        let mut ids: Vec<u32> = streams
            .open
            .iter()
            .filter(|(_, stream)| stream.state.close_reason.get().is_some())
            .map(|(id, _)| *id)
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(closing(&mut streams, 4_499), Vec::<u32>::new());
    assert_eq!(closing(&mut streams, 4_500), [3]);
    assert_eq!(closing(&mut streams, 6_999), [3]);
    assert_eq!(closing(&mut streams, 7_000), [1, 2, 3, 4]);
    streams.open(6, of_key("c", late), 20_000, 0.5);
    assert_eq!(streams.open[&6].drain_at, None);
}

#[test]
fn activity_names_the_key_and_may_not_count() {
    let mut streams = streams();
    let read_chunk = |start: usize, max: usize| FRAME.get(start..FRAME.len().min(start + max));
    let keyed = PlacedStream {
        key: Some("k".into()),
        ..placed("a", "e")
    };
    let mut interceptor = streams.open(1, keyed, 0, 0.5);
    let (_, active) = interceptor.on_chunk(FRAME.len(), 10, read_chunk);
    let active = active.unwrap();
    assert_eq!(
        (&*active.session_ref, active.key.as_deref()),
        ("a", Some("k"))
    );
    assert_eq!(streams.describe(1).unwrap().key.as_deref(), Some("k"));
    let silent = PlacedStream {
        counts_activity: false,
        ..placed("b", "e")
    };
    let mut interceptor = streams.open(2, silent, 0, 0.5);
    assert_eq!(interceptor.on_chunk(FRAME.len(), 10, read_chunk).1, None);
}
