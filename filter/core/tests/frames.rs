//! The walk over a client's frames, and the close frame between them, against tungstenite: what it
//! writes is result, and what goes on to the engine it can read. Native only.
#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use berth_api::CloseReason;
use berth_filter_core::streams::PlacedStream;
use berth_filter_core::streams::frames::{FrameScanner, MAX_HEADER_BYTES};
use berth_filter_core::streams::{ChunkAction, FrameInterceptor, Streams};
use proptest::prelude::*;
use std::io::Cursor;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader, FrameSocket};

fn frame() -> impl Strategy<Value = Frame> {
    let data = prop_oneof![
        Just(OpCode::Data(Data::Text)),
        Just(OpCode::Data(Data::Binary)),
        Just(OpCode::Data(Data::Continue)),
    ];
    let control = prop_oneof![
        Just(OpCode::Control(Control::Ping)),
        Just(OpCode::Control(Control::Pong)),
    ];
    let sizes = prop_oneof![
        4 => 0..200_usize,
        1 => prop::sample::select(vec![0, 1, 125, 126, 127, 65_535, 65_536, 70_001]),
    ];
    let data = (data, sizes, any::<bool>());
    let control = (control, 0..=125_usize, Just(true));
    (
        prop_oneof![2 => data.boxed(), 1 => control.boxed()],
        any::<[u8; 4]>(),
    )
        .prop_map(|((opcode, size, last), mask)| {
            let header = FrameHeader {
                is_final: last,
                opcode,
                mask: Some(mask),
                ..FrameHeader::default()
            };
            Frame::from_payload(header, vec![0x5a; size].into())
        })
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.clone().format(&mut bytes).unwrap();
    bytes
}

/// Splits bytes at these relative positions.
fn cut<'a>(bytes: &'a [u8], cut_points: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut positions: Vec<usize> = cut_points
        .iter()
        .map(|index| index.index(bytes.len() + 1))
        .collect();
    positions.extend([0, bytes.len()]);
    positions.sort_unstable();
    positions
        .windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

fn reader<'a>(chunk: &'a [u8]) -> impl FnMut(usize, usize) -> Option<&'a [u8]> {
    move |start, max| {
        assert!(max <= MAX_HEADER_BYTES);
        chunk.get(start..chunk.len().min(start + max))
    }
}

fn is_data(frame: &Frame) -> bool {
    matches!(frame.header().opcode, OpCode::Data(_))
}

fn open_stream(streams: &mut Streams) -> FrameInterceptor {
    let placed = PlacedStream {
        stream: "s".to_owned(),
        session_ref: "ref".to_owned(),
        pool: "qix".to_owned(),
        engine: "engine-0".to_owned(),
        reason: "least-load".to_owned(),
        session_expires_at: u64::MAX,
        max_age: None,
        key: None,
        counts_activity: true,
    };
    streams.open(1, placed, 0, 0.5)
}

/// The frames that a server reads.
fn read(bytes: &[u8]) -> Vec<Frame> {
    let mut socket = FrameSocket::new(Cursor::new(bytes.to_vec()));
    let mut frames = Vec::new();
    while let Some(frame) = socket.read(None).unwrap() {
        frames.push(frame);
    }
    frames
}

proptest! {
    #[test]
    fn boundaries_and_data_match_the_frames(
        frames in prop::collection::vec(frame(), 0..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let written: Vec<Vec<u8>> = frames.iter().map(bytes).collect();
        let all = written.concat();
        let mut ends = vec![0];
        let mut headers = Vec::new();
        for (frame, bytes) in frames.iter().zip(&written) {
            let start = *ends.last().unwrap();
            headers.push((start + bytes.len() - frame.payload().len(), is_data(frame)));
            ends.push(start + bytes.len());
        }
        let mut scanner = FrameScanner::new();
        let mut at = 0;
        for chunk in cut(&all, &cuts) {
            let result = scanner.scan(chunk.len(), reader(chunk));
            let end = at + chunk.len();
            let first = ends.iter().find(|place| (at..=end).contains(place));
            prop_assert_eq!(result.boundary.map(|place| place + at), first.copied());
            let data = headers.iter().any(|(place, data)| *data && (at + 1..=end).contains(place));
            prop_assert_eq!(result.data, data);
            at = end;
        }
        prop_assert!(!scanner.is_desynchronized());
    }

    #[test]
    fn a_server_reads_whole_frames_and_then_the_close_frame(
        frames in prop::collection::vec(frame(), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        closing_from in any::<prop::sample::Index>(),
    ) {
        let all: Vec<u8> = frames.iter().flat_map(bytes).collect();
        let chunks = cut(&all, &cuts);
        let closing_from = closing_from.index(chunks.len());
        let mut streams = Streams::new(500);
        let mut interceptor = open_stream(&mut streams);
        let mut passed = Vec::new();
        let mut closed_at = None;
        for (index, chunk) in chunks.into_iter().enumerate() {
            if index == closing_from {
                streams.end_session("ref", CloseReason::Revoked, 0);
            }
            match interceptor.on_chunk(chunk.len(), 0, reader(chunk)).0 {
                ChunkAction::Forward => {
                    prop_assert_eq!(closed_at, None);
                    passed.extend_from_slice(chunk);
                }
                ChunkAction::Close { keep, frame } => {
                    prop_assert!(closed_at.is_none() && index >= closing_from);
                    passed.extend_from_slice(&chunk[..keep]);
                    closed_at = Some(passed.len());
                    passed.extend_from_slice(&frame);
                }
                ChunkAction::Drop => prop_assert!(closed_at.is_some()),
            }
        }
        // The last frame is complete, so there is a boundary for the close frame.
        let closed_at = closed_at.unwrap();
        prop_assert!(all.starts_with(&passed[..closed_at]));
        let mut seen = read(&passed);
        let close = seen.pop().unwrap();
        prop_assert_eq!(close.header().opcode, OpCode::Control(Control::Close));
        prop_assert_eq!(&close.payload()[..2], &4403_u16.to_be_bytes()[..]);
        let sent = read(&all);
        prop_assert_eq!(&seen[..], &sent[..seen.len()]);
        prop_assert_eq!(interceptor.received(), all.len() as u64);
    }

    #[test]
    fn any_bytes_in_any_chunks_are_harmless(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut scanner = FrameScanner::new();
        for chunk in cut(&bytes, &cuts) {
            let result = scanner.scan(chunk.len(), reader(chunk));
            prop_assert!(result.boundary.is_none_or(|place| place <= chunk.len()));
        }
    }
}
