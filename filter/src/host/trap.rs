//! A way to trap, or never to return, on demand: for the tests of what that does to an Envoy. Only in a build with
//! the feature `trap`, which is never shipped.

use super::calls::Headers;

/// A request with this header ends the VM, whatever its value but [`SPIN`].
const HEADER: &[u8] = b"trap-for-tests";
/// The value of the header that keeps the worker in the VM for ever.
const SPIN: &[u8] = b"spin";

/// Traps or spins if the request asks for it.
pub(super) fn spring(headers: &Headers) {
    let mut all = headers.iter().into_iter().flatten();
    match all.find(|(name, _)| *name == HEADER) {
        None => {}
        Some((_, SPIN)) => loop {
            std::hint::spin_loop();
        },
        Some(_) => std::process::abort(),
    }
}
