//! Frames of clients, whole and in pieces.

use super::*;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A frame whose payload has `size` bytes, with the shortest header.
fn frame(first: u8, size: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    match size {
        0..=125 => bytes.push(0x80 | u8::try_from(size).unwrap()),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&[1, 2, 3, 4]);
    bytes.extend(std::iter::repeat_n(0xff, size));
    bytes
}

/// Scans the bytes as one chunk; counts the reads.
fn scan(scanner: &mut FrameScanner, bytes: &[u8]) -> (ScanResult, usize) {
    let mut read_count = 0;
    let result = scanner.scan(bytes.len(), |offset, max| {
        assert!(max <= MAX_HEADER_BYTES);
        read_count += 1;
        bytes.get(offset..(offset + max).min(bytes.len()))
    });
    (result, read_count)
}

#[test]
fn finds_the_first_boundary_and_data() {
    for size in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
        let mut scanner = FrameScanner::default();
        let text = frame(0x81, size);
        let (result, read_count) = scan(&mut scanner, &text);
        let expected = ScanResult {
            data: true,
            boundary: Some(0),
            ..ScanResult::default()
        };
        assert_eq!((result, read_count), (expected, 1), "{size}");
        let (result, _) = scan(&mut scanner, &text[..1]);
        assert_eq!(result.boundary, Some(0));
        let (result, _) = scan(&mut scanner, &text[1..]);
        assert_eq!(result.boundary, Some(text.len() - 1), "{size}");
    }
}

#[test]
fn control_frames_are_not_data_and_payloads_are_not_read() {
    let mut scanner = FrameScanner::default();
    for first in [0x88, 0x89, 0x8a] {
        assert!(!scan(&mut scanner, &frame(first, 5)).0.data);
    }
    let text = frame(0x01, 300);
    assert_eq!(scan(&mut scanner, &text[..20]).1, 1);
    let within = scan(&mut scanner, &text[20..200]);
    assert_eq!(within, (ScanResult::default(), 0));
    let (last, read_count) = scan(&mut scanner, &text[200..]);
    assert_eq!(
        (last.boundary, last.data, read_count),
        (Some(108), false, 0)
    );
    // A ping may stand between the fragments of a message.
    let bytes = [frame(0x89, 0), frame(0x80, 7)].concat();
    let (result, read_count) = scan(&mut scanner, &bytes);
    assert_eq!(
        (result.data, result.boundary, read_count),
        (true, Some(0), 2)
    );
}

#[test]
fn the_code_of_a_close_frame_is_read_however_its_bytes_arrive() {
    for (text, size) in [("", 8), ("bye", 11)] {
        let frame = close_frame(1000, text, [9, 8, 7, 6]);
        assert_eq!(frame.len(), size);
        for cut in 0..=frame.len() {
            let mut scanner = FrameScanner::default();
            let (first, second) = frame.split_at(cut);
            let results = [first, second].map(|bytes| scan(&mut scanner, bytes).0);
            let codes: Vec<u16> = results.iter().filter_map(|r| r.close_code).collect();
            assert_eq!(codes, [1000], "{text:?} cut at {cut}");
            assert!(results[1].boundary.is_some(), "{text:?} cut at {cut}");
            assert!(!results[0].data && !results[1].data && !scanner.is_desynchronized());
        }
    }
    // A close frame without a code, with half of one, and a ping with the same payload.
    let ping = [&[0x89][..], &close_frame(1000, "", [0; 4])[1..]].concat();
    for bytes in [frame(0x88, 0), frame(0x88, 1), ping] {
        let mut scanner = FrameScanner::default();
        assert_eq!(scan(&mut scanner, &bytes).0.close_code, None);
        assert_eq!(scan(&mut scanner, &frame(0x81, 3)).0.boundary, Some(0));
    }
}

#[test]
fn an_invalid_frame_desynchronizes_the_scanner() {
    let long_header = |digits: u64| {
        let mut bytes = vec![0x82, 0xff];
        bytes.extend_from_slice(&digits.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    };
    for invalid in [
        vec![0x81, 0x05, b'h'],
        vec![0x82, 0xfe, 0, 125, 0, 0, 0, 0],
        long_header(0xffff),
        long_header(1 << 63),
        vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0],
    ] {
        let mut scanner = FrameScanner::default();
        let (result, _) = scan(&mut scanner, &invalid);
        assert!(scanner.is_desynchronized() && result.data, "{invalid:?}");
        let result = scan(&mut scanner, b"anything");
        let expected = ScanResult {
            data: true,
            ..ScanResult::default()
        };
        assert_eq!(result, (expected, 0));
    }
    let mut scanner = FrameScanner::default();
    scan(&mut scanner, &long_header(u64::MAX >> 1));
    assert!(!scanner.is_desynchronized());
    let mut scanner = FrameScanner::default();
    scanner.scan(5, |_, _| None::<&[u8]>);
    assert!(scanner.is_desynchronized());
    let mut scanner = FrameScanner::default();
    scanner.scan(5, |_, _| Some(b""));
    assert!(scanner.is_desynchronized());
}

#[test]
fn a_close_frame_is_masked_and_short() {
    let frame = close_frame(4403, "gone", [1, 2, 3, 4]);
    let (head, payload) = frame.split_at(6);
    assert_eq!(head, [0x88, 0x86, 1, 2, 3, 4]);
    let unmasked: Vec<u8> = payload
        .iter()
        .zip([1, 2, 3, 4].into_iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    assert_eq!(unmasked, [&4403_u16.to_be_bytes()[..], b"gone"].concat());
    for (reason, size) in [("x".repeat(300), 131), ("ä".repeat(100), 130)] {
        let frame = close_frame(4401, &reason, [0; 4]);
        assert_eq!(frame.len(), size);
        assert!(!scan(&mut FrameScanner::default(), &frame).0.data);
    }
}
