//! Calls for open streams: the bytes that clients send, properties, and the context in effect.

use super::{HostError, Result, buffer, checked, take_buffer};
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
pub(crate) fn random() -> Result<u128> {
    let mut bits = [0; 16];
    // SAFETY: pointer and size are of a live array.
    checked(unsafe { random_get(bits.as_mut_ptr(), bits.len()) })?;
    Ok(u128::from_le_bytes(bits))
}

/// Bytes of the current chunk of the request body.
pub(crate) fn request_chunk(start: usize, max: usize) -> Result<Vec<u8>> {
    buffer(BufferType::HttpRequestBody, start, max)
}

/// Replaces a whole chunk of `size` bytes of the request body.
pub(crate) fn replace_request_chunk(size: usize, bytes: &[u8]) -> Result<()> {
    set_request_chunk(0, size, bytes)
}

/// Appends to a chunk of `size` bytes of the request body.
pub(crate) fn append_to_request_chunk(size: usize, bytes: &[u8]) -> Result<()> {
    set_request_chunk(size, 0, bytes)
}

fn set_request_chunk(start: usize, size: usize, bytes: &[u8]) -> Result<()> {
    let kind = BufferType::HttpRequestBody as u32;
    // SAFETY: pointer and size are of a live buffer.
    checked(unsafe { proxy_set_buffer_bytes(kind, start, size, bytes.as_ptr(), bytes.len()) })
}

/// A numeric property of the request. `path` has a zero byte between its parts.
pub(crate) fn number_property(path: &str) -> Result<u64> {
    let value = property(path)?;
    let bytes = value.first_chunk::<8>().ok_or(HostError)?;
    Ok(u64::from_le_bytes(*bytes))
}

/// A property that is a text. `path` has a zero byte between its parts.
pub(crate) fn text_property(path: &str) -> Result<String> {
    String::from_utf8(property(path)?).map_err(|_| HostError)
}

fn property(path: &str) -> Result<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: as in `buffer`.
    unsafe {
        checked(proxy_get_property(
            path.as_ptr(),
            path.len(),
            &raw mut data,
            &raw mut size,
        ))?;
        Ok(take_buffer(data, size))
    }
}

/// Puts a context into effect: the calls that follow apply to it.
pub(crate) fn set_effective_context(id: u32) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_set_effective_context(id) })
}
