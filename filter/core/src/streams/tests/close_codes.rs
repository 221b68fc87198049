//! The code of a client's close frame in the report of its stream.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn the_close_code_of_the_client_is_reported() {
    let close = |code| frames::close_frame(code, "", [7; 4]);
    for (frames, expected) in [
        (vec![FRAME.to_vec()], None),
        (vec![FRAME.to_vec(), close(1000)], Some(1000)),
        (vec![close(1001)], Some(1001)),
    ] {
        let mut streams = streams();
        let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
        for bytes in frames {
            assert_eq!(send(&mut interceptor, &bytes, 0), ChunkAction::Forward);
        }
        let closed = streams.close(1, 0, StreamSummary::default()).unwrap();
        assert_eq!(closed.close_code, expected);
        assert_eq!(closed.client_left(), expected == Some(1000));
    }
    // The gateway has closed it: the client did not leave.
    let mut streams = streams();
    let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
    streams.drain(QIX_E, 0, 0, 0.5);
    streams.due(0);
    send(&mut interceptor, &close(1000), 0);
    let closed = streams.close(1, 0, StreamSummary::default()).unwrap();
    assert!(!closed.client_left(), "{closed:?}");
}

#[test]
fn a_stream_that_an_operator_ends_gets_a_code_of_its_own() {
    let mut streams = streams();
    let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
    let mut other = streams.open(2, placed("b", "e"), 0, 0.5);
    streams.end_stream("stream-of-a", 0);
    streams.end_stream("stream-of-nobody", 0);
    let frame = frames::close_frame(4410, "closed-by-operator", [0; 4]);
    let close = ChunkAction::Close { keep: 0, frame };
    assert_eq!(send(&mut interceptor, &FRAME, 0), close);
    assert_eq!(send(&mut other, &FRAME, 0), ChunkAction::Forward);
    assert_eq!(reason(&mut streams, 1, 0), CloseReason::ClosedByOperator);
    assert_eq!(reason(&mut streams, 2, 0), CloseReason::Ended);
    assert!(!streams.is_closing());
}

#[test]
fn the_access_log_tells_the_causes_of_an_end_apart() {
    let end = |frame: Option<Vec<u8>>, status, details| {
        let mut streams = streams();
        let mut interceptor = streams.open(1, placed("a", "e"), 0, 0.5);
        if let Some(bytes) = frame {
            send(&mut interceptor, &bytes, 0);
        }
        let observed = EndObservation {
            status: Some(status),
            details,
        };
        streams.end_text(1, observed).unwrap()
    };
    let close = |code| frames::close_frame(code, "", [7; 4]);
    let without_code = vec![0x88, 0x80, 1, 2, 3, 4];
    let gone = "downstream_remote_disconnect";
    assert_eq!(
        end(Some(close(1001)), 101, gone),
        "end=client-closed code=1001"
    );
    assert_eq!(end(Some(without_code), 101, gone), "end=client-closed");
    assert_eq!(end(None, 101, gone), "end=client-gone");
    let lost = "upstream_reset_after_response_started{connection_termination}";
    assert_eq!(end(None, 101, lost), "end=engine-lost");
    assert_eq!(end(None, 200, "via_upstream"), "end=engine-closed");
    assert_eq!(end(None, 403, "via_upstream"), "end=refused");
    let mut streams = streams();
    streams.open(1, placed("a", "e"), 0, 0.5);
    streams.end_session("a", CloseReason::Revoked, 0);
    let observed = EndObservation::default();
    let text = streams.end_text(1, observed);
    assert_eq!(text.as_deref(), Some("end=revoked code=4403"));
    assert_eq!(streams.end_text(2, observed), None);
}
