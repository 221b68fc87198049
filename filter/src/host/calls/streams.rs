//! The calls that open streams need: what their clients send, how they have ended, and calls about
//! another context than the one that Envoy has just called.

use super::{Refused, Result, buffer, checked, taken};
use proxy_wasm::types::BufferType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_set_buffer_bytes(
        kind: u32,
        start: usize,
        size: usize,
        data: *const u8,
        data_size: usize,
    ) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_effective_context(id: u32) -> u32;
}

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(data: *mut u8, size: usize) -> u32;
}

/// Random bits.
pub(in crate::host) fn random() -> Result<u128> {
    let mut bits = [0; 16];
    // SAFETY: pointer and size are those of a live array.
    checked(unsafe { random_get(bits.as_mut_ptr(), bits.len()) })?;
    Ok(u128::from_le_bytes(bits))
}

/// Some bytes of the chunk of the request's body that has come.
pub(in crate::host) fn request_chunk(start: usize, max: usize) -> Result<Vec<u8>> {
    buffer(BufferType::HttpRequestBody, start, max)
}

/// Puts these bytes in the place of a whole chunk of `size` bytes of the request's body.
pub(in crate::host) fn replace_request_chunk(size: usize, bytes: &[u8]) -> Result<()> {
    set_request_chunk(0, size, bytes)
}

/// Puts these bytes behind a chunk of `size` bytes of the request's body.
pub(in crate::host) fn append_to_request_chunk(size: usize, bytes: &[u8]) -> Result<()> {
    set_request_chunk(size, 0, bytes)
}

fn set_request_chunk(start: usize, size: usize, bytes: &[u8]) -> Result<()> {
    let kind = BufferType::HttpRequestBody as u32;
    // SAFETY: pointer and size are those of a live buffer.
    checked(unsafe { proxy_set_buffer_bytes(kind, start, size, bytes.as_ptr(), bytes.len()) })
}

/// A number that Envoy knows of the request. `path` has a zero between its parts.
pub(in crate::host) fn number_property(path: &str) -> Result<u64> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: as in `buffer`.
    let value = unsafe {
        checked(proxy_get_property(
            path.as_ptr(),
            path.len(),
            &raw mut data,
            &raw mut size,
        ))?;
        taken(data, size)
    };
    let bytes = value.first_chunk::<8>().ok_or(Refused)?;
    Ok(u64::from_le_bytes(*bytes))
}

/// The calls that follow are about this context.
pub(in crate::host) fn set_effective_context(id: u32) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_set_effective_context(id) })
}
