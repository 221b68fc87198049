//! What clients send on a WebSocket: whatever it is and however it is cut, the walk over it agrees with
//! the walk over all of it at once, and reads no more than headers.
use berth_filter::frames::{MAX_HEADER_BYTES, Walker};

/// One input.
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
    // One byte at a time shows every boundary there is.
    let (_, (_, every)) = walk(1);
    assert!(boundaries.iter().all(|boundary| every.contains(boundary)));
}
