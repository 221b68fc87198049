//! A trap or an endless loop on demand, for tests of their consequences in Envoy. Only in a build with the feature
//! `trap`, which is never shipped.

use crate::abi::Headers;

/// A request with this header traps the VM, whatever its value, except [`SPIN`].
const HEADER: &[u8] = b"trap-for-tests";
/// The value that makes the worker spin in the VM forever.
const SPIN: &[u8] = b"spin";

/// Traps or spins if the request asks for it.
pub(crate) fn trap_if_requested(headers: &Headers) {
    let mut header_values = headers.iter().into_iter().flatten();
    match header_values.find(|(name, _)| *name == HEADER) {
        None => {}
        Some((_, SPIN)) => loop {
            std::hint::spin_loop();
        },
        Some(_) => std::process::abort(),
    }
}
