//! What a client sends on an open stream: hands it to the stream's tap, and does what that says. Each
//! message goes through here, so nearly all of them pass with one read of a few bytes.

use super::calls::{self, streams};
use super::gateway::Gateway;
use crate::streams::{Pass, Tap};

/// A chunk from the client: most go on untouched, and unread but for a header. An error means that what must not go on
/// could not be taken out.
pub(super) fn pass(id: u32, gateway: &Gateway, tap: &mut Tap, size: usize) -> calls::Result<()> {
    let read = |start, max| streams::request_chunk(start, max).ok();
    let (pass, active) = tap.chunk(size, gateway.coarse_now(), read);
    if let Some(session_ref) = active {
        gateway.active(&session_ref);
    }
    match pass {
        Pass::All => Ok(()),
        Pass::Nothing => streams::replace_request_chunk(size, &[]),
        Pass::Close { keep, frame } => {
            gateway.closing(id);
            close(size, keep, &frame)
        }
    }
}

/// Puts a close frame behind the first `keep` bytes of a chunk, in the place of the others. Envoy can
/// replace a whole chunk or append to it, nothing in between.
fn close(size: usize, keep: usize, frame: &[u8]) -> calls::Result<()> {
    if keep >= size {
        return streams::append_to_request_chunk(size, frame);
    }
    let mut bytes = match keep {
        0 => Vec::new(),
        _ => streams::request_chunk(0, keep)?,
    };
    bytes.extend_from_slice(frame);
    streams::replace_request_chunk(size, &bytes)
}
