//! Frames that clients send on a WebSocket. A scan over chunks of any size agrees with a scan over all bytes at once,
//! and reads only frame headers.
use berth_filter::frames::{MAX_HEADER_BYTES, Walker};

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let walk = |size: usize| {
        let mut walker = Walker::new();
        let mut found = (false, Vec::new());
        for (index, chunk) in bytes.chunks(size).enumerate() {
            let walked = walker.walk(chunk.len(), |start, max| {
                assert!(max <= MAX_HEADER_BYTES && start < chunk.len());
                chunk.get(start..chunk.len().min(start + max))
            });
            found.0 |= walked.data;
            if let Some(boundary) = walked.boundary {
                assert!(boundary <= chunk.len());
                found.1.push(index * size + boundary);
            }
        }
        (walker.is_lost(), found)
    };
    let (lost, (data, boundaries)) = walk(usize::from(*cut).max(1));
    let (lost_at_once, (data_at_once, first)) = walk(bytes.len().max(1));
    assert_eq!((lost, data), (lost_at_once, data_at_once));
    assert_eq!(boundaries.first(), first.first());
    // A scan byte by byte finds every boundary.
    let (_, (_, every)) = walk(1);
    assert!(boundaries.iter().all(|boundary| every.contains(boundary)));
}
