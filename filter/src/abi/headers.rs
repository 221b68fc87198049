//! The headers and trailers of the request, and the headers of its response: read all at once, changed one by one.

use super::{Result, checked, streams, take_buffer};
use base64::Engine;
use berth_filter_core::decision::effects::{HeaderMutation, LocalReply};
use berth_filter_core::decision::local_reply::not_ready;
use berth_filter_core::request::{Header, spoofed_trailers};
use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(kind: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_remove_header_map_value(kind: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_replace_header_map_value(
        kind: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        kind: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
}

/// Headers or trailers in one buffer, read without a copy of each.
pub(crate) struct Headers(Vec<u8>);

impl Headers {
    /// The headers of the request.
    pub(crate) fn read_request() -> Result<Self> {
        Self::read(MapType::HttpRequestHeaders)
    }

    /// The headers of the response.
    pub(crate) fn read_response() -> Result<Self> {
        Self::read(MapType::HttpResponseHeaders)
    }

    fn read(kind: MapType) -> Result<Self> {
        let mut data = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: as in `buffer`.
        unsafe {
            checked(proxy_get_header_map_pairs(
                kind as u32,
                &raw mut data,
                &raw mut size,
            ))?;
            Ok(Self(take_buffer(data, size)))
        }
    }

    /// Name and value of each header. Layout: a count, then two sizes for each, then the bytes of each name and value,
    /// each followed by a zero byte.
    pub(crate) fn iter(&self) -> Option<impl Iterator<Item = Header<'_>>> {
        let (count, tail) = self.0.split_first_chunk::<4>()?;
        let sizes = (u32::from_le_bytes(*count) as usize).checked_mul(8)?;
        let (sizes, mut bytes) = tail.split_at_checked(sizes)?;
        let mut next_text = move |size: &[u8]| {
            let size = u32::from_le_bytes(*size.first_chunk::<4>()?) as usize;
            let (text, tail) = bytes.split_at_checked(size)?;
            bytes = tail.get(1..)?;
            Some(text)
        };
        let mut pairs = Vec::with_capacity(sizes.len() / 8);
        for pair in sizes.chunks_exact(8) {
            let (name, value) = pair.split_at_checked(4)?;
            pairs.push((next_text(name)?, next_text(value)?));
        }
        Some(pairs.into_iter())
    }
}

/// Changes the headers of the request.
///
/// # Errors
/// The reply for the client.
pub(crate) fn apply_mutations(mutations: &[HeaderMutation]) -> std::result::Result<(), LocalReply> {
    for mutation in mutations {
        match mutation {
            HeaderMutation::Remove(name) => remove(MapType::HttpRequestHeaders, name),
            HeaderMutation::Set(name, value) => set_header(name, value),
            HeaderMutation::Add(name, value) => add(MapType::HttpRequestHeaders, name, value),
            HeaderMutation::Nonce(name) => {
                streams::random().and_then(|bits| set_header(name, nonce(bits).as_bytes()))
            }
        }
        .map_err(|_| not_ready("a header cannot be changed"))?;
    }
    Ok(())
}

/// Removes internal headers from the trailers of the request.
///
/// # Errors
/// The reply for the client.
pub(crate) fn strip_trailers(strip: &[String]) -> std::result::Result<(), LocalReply> {
    let kind = MapType::HttpRequestTrailers;
    let unreadable = || not_ready("trailers");
    let trailers = Headers::read(kind).map_err(|_| unreadable())?;
    let trailers = trailers.iter().ok_or_else(unreadable)?;
    for name in spoofed_trailers(trailers, strip).map_err(|_| unreadable())? {
        remove(kind, name).map_err(|_| not_ready("a trailer cannot be changed"))?;
    }
    Ok(())
}

/// Replaces every `Set-Cookie` header of the response by these.
pub(crate) fn replace_set_cookies(values: &[Vec<u8>]) -> Result<()> {
    let (kind, name) = (MapType::HttpResponseHeaders, "set-cookie");
    remove(kind, name)?;
    let mut values = values.iter();
    values.try_for_each(|value| add(kind, name, value))
}

/// 16 bytes in base64.
fn nonce(bits: u128) -> String {
    base64::engine::general_purpose::STANDARD.encode(bits.to_le_bytes())
}

/// Removes every header of this name.
fn remove(map: MapType, name: &str) -> Result<()> {
    // SAFETY: pointer and size are of a live text.
    checked(unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) })
}

/// Replaces every request header of this name by one.
fn set_header(name: &str, value: &[u8]) -> Result<()> {
    let kind = MapType::HttpRequestHeaders as u32;
    // SAFETY: pointers and sizes are of live texts.
    checked(unsafe {
        proxy_replace_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Adds a header.
fn add(map: MapType, name: &str, value: &[u8]) -> Result<()> {
    let kind = map as u32;
    // SAFETY: pointers and sizes are of live texts.
    checked(unsafe {
        proxy_add_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}
