//! A way to trap on demand, for the tests of what a trap does to an Envoy. Only in a build with the feature
//! `trap`, which is never shipped.

use super::calls::Headers;

/// A request with this header, whatever its value, ends the VM.
const HEADER: &[u8] = b"trap-for-tests";

/// Traps if the request asks for it.
pub(super) fn spring(headers: &Headers) {
    let mut names = headers.iter().into_iter().flatten().map(|(name, _)| name);
    if names.any(|name| name == HEADER) {
        std::process::abort();
    }
}
