//! Drains of engines and of the gateway: their spread, and their order among other closes.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const OTHER_E: DrainTarget<'_> = DrainTarget::Engine {
    pool: "other",
    engine: "e",
};

#[test]
fn a_drain_is_spread_evenly() {
    let mut streams = streams();
    for id in 0..1_000 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.open(5_000, placed("a", "other"), 0, 0.5);
    streams.drain(QIX_E, 10_000, 60_000, 0.7);
    streams.drain(QIX_E, 10_000, 60_000, 0.7);
    streams.drain(OTHER_E, 1, 60_000, 0.7);
    let mut max = 0;
    let mut reset = 0;
    for step in 0..=100 {
        let resets = streams.due(60_000 + step * 100).resets;
        max = max.max(resets.len());
        reset += resets.len();
        for id in resets {
            assert_eq!(reason(&mut streams, id, 0), CloseReason::Drained);
        }
    }
    assert_eq!((reset, streams.len()), (1_000, 1));
    assert!(max <= 15, "{max} in 100 ms, where 10 are even");
}

#[test]
fn a_drain_of_the_gateway_closes_the_streams_of_every_engine() {
    let mut streams = streams();
    for id in 0..10 {
        let engine = if id % 2 == 0 { "e" } else { "other" };
        streams.open(id, placed("a", engine), 0, 0.5);
    }
    streams.drain(DrainTarget::Gateway, 10_000, 60_000, 0.5);
    streams.open(10, placed("a", "e"), 60_001, 0.5);
    let mut reset = Vec::new();
    for second in 0..=10 {
        let resets = streams.due(60_000 + second * 1_000).resets;
        assert!(resets.len() <= 1, "{resets:?} in one second");
        for id in resets {
            assert_eq!(reason(&mut streams, id, 0), CloseReason::Drained);
            reset.push(id);
        }
    }
    assert_eq!((reset.len(), streams.len()), (10, 1), "{reset:?}");
}

#[test]
fn a_second_drain_moves_ends_only_forward() {
    let mut streams = streams();
    for id in 0..50 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.drain(QIX_E, 3_600_000, 60_000, 0.5);
    assert_eq!(streams.due(70_000).resets, [0_u32; 0]);
    streams.drain(QIX_E, 10_000, 70_000, 0.5);
    streams.drain(QIX_E, 3_600_000, 70_000, 0.5);
    let before_second_end = streams.due(75_000).resets;
    assert!(
        (20..=30).contains(&before_second_end.len()),
        "{before_second_end:?}"
    );
    for id in before_second_end {
        assert_eq!(reason(&mut streams, id, 0), CloseReason::Drained);
    }
    let after_second_end = streams.due(80_000).resets;
    assert_eq!(after_second_end.len(), streams.len());
}

#[test]
fn ended_sessions_are_reset_before_drained_streams() {
    let mut streams = streams();
    for id in 0..1_000 {
        streams.open(id, placed("a", "e"), 0, 0.5);
    }
    streams.open(1_000, placed("b", "other"), 0, 0.5);
    let short_session = PlacedStream {
        session_expires_at: 51,
        ..placed("c", "other")
    };
    streams.open(1_001, short_session, 0, 0.5);
    streams.drain(QIX_E, 0, 50_000, 0.5);
    assert_eq!(streams.due(50_000).resets.len(), 100);
    streams.end_session("b", CloseReason::Revoked, 51_000);
    let resets = streams.due(51_000).resets;
    assert_eq!((resets.len(), &resets[..2]), (100, &[1_000, 1_001][..]));
    assert_eq!(reason(&mut streams, 1_001, 0), CloseReason::Expired);
    let reset_count: usize = (0..9).map(|_| streams.due(51_000).resets.len()).sum();
    assert_eq!(reset_count, 802);
}

#[test]
fn streams_of_a_key_that_open_after_its_moment_or_after_an_undrain_stay_open() {
    let mut streams = streams();
    // The digit of the key is half of the alphabet: its moment is the middle of a drain.
    let keyed = || PlacedStream {
        key: Some("gAAAAAAAAA".into()),
        ..placed("a", "e")
    };
    streams.drain(QIX_E, 10_000, 60_000, 0.5);
    streams.open(1, keyed(), 61_000, 0.5);
    streams.open(2, keyed(), 65_001, 0.5);
    assert_eq!(streams.due(70_000).resets, [1]);
    streams.close(1, 70_000, StreamSummary::default());
    streams.drain(QIX_E, 10_000, 80_000, 0.5);
    streams.end_engine_drain("qix", "e");
    streams.open(3, keyed(), 81_000, 0.5);
    // The drain has scheduled the second one.
    assert_eq!(streams.due(95_000).resets, [2]);
    assert_eq!(streams.len(), 2);
}
