//! Client bytes on a WebSocket: however they are split, the scan agrees with the scan of all bytes at once, and reads
//! only headers.
use berth_filter_core::streams::frames::{FrameScanner, MAX_HEADER_BYTES};

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let scan = |size: usize| {
        let mut scanner = FrameScanner::new();
        let mut found = (false, Vec::new());
        for (index, chunk) in bytes.chunks(size).enumerate() {
            let result = scanner.scan(chunk.len(), |start, max| {
                assert!(max <= MAX_HEADER_BYTES && start < chunk.len());
                chunk.get(start..chunk.len().min(start + max))
            });
            found.0 |= result.data;
            if let Some(boundary) = result.boundary {
                assert!(boundary <= chunk.len());
                found.1.push(index * size + boundary);
            }
        }
        (scanner.is_desynchronized(), found)
    };
    let (lost, (data, boundaries)) = scan(usize::from(*cut).max(1));
    let (lost_at_once, (data_at_once, first)) = scan(bytes.len().max(1));
    assert_eq!((lost, data), (lost_at_once, data_at_once));
    assert_eq!(boundaries.first(), first.first());
    // One byte at a time shows every boundary there is.
    let (_, (_, every)) = scan(1);
    assert!(boundaries.iter().all(|boundary| every.contains(boundary)));
}
