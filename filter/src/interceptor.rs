//! The chunks that clients send on open streams: passes each to the interceptor of its stream and applies the result.
//! Every message goes through here, so nearly all of them are forwarded after one read of a few bytes.

use crate::abi::{self, streams};
use crate::control::Gateway;
use berth_filter_core::streams::{ChunkAction, FrameInterceptor};

/// Handles a chunk from the client. An error means that bytes that must not be forwarded could not be removed.
pub(crate) fn on_chunk(
    id: u32,
    gateway: &Gateway,
    interceptor: &mut FrameInterceptor,
    size: usize,
) -> abi::Result<()> {
    let read_chunk = |start, max| streams::request_chunk(start, max).ok();
    let (action, active) = interceptor.on_chunk(size, gateway.coarse_now(), read_chunk);
    if let Some(active) = active {
        gateway.active_at_engine(&active);
    }
    match action {
        ChunkAction::Forward => Ok(()),
        ChunkAction::Drop => streams::replace_request_chunk(size, &[]),
        ChunkAction::Close {
            keep: kept_bytes,
            frame,
        } => {
            gateway.close_frame_sent(id);
            insert_close_frame(size, kept_bytes, &frame)
        }
    }
}

/// Replaces all but the first `kept_bytes` bytes of a chunk by a close frame. Envoy can only replace a whole chunk or append
/// to it.
fn insert_close_frame(size: usize, kept_bytes: usize, frame: &[u8]) -> abi::Result<()> {
    if kept_bytes >= size {
        return streams::append_to_request_chunk(size, frame);
    }
    let mut bytes = match kept_bytes {
        0 => Vec::new(),
        _ => streams::request_chunk(0, kept_bytes)?,
    };
    bytes.extend_from_slice(frame);
    streams::replace_request_chunk(size, &bytes)
}
