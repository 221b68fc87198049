//! The headers and trailers of the request: read all at once, changed one by one.

use super::{Result, checked, streams, taken};
use crate::presentation::not_ready;
use crate::request::{Header, forged_trailers};
use crate::step::{Change, Reply};
use base64::Engine;
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

/// The request's headers or trailers in one buffer, read without a copy of each.
pub(in crate::host) struct Headers(Vec<u8>);

impl Headers {
    /// Asks Envoy for the headers.
    pub(in crate::host) fn of_request() -> Result<Self> {
        Self::of(MapType::HttpRequestHeaders)
    }

    fn of(kind: MapType) -> Result<Self> {
        let mut data = std::ptr::null_mut();
        let mut size = 0;
        // SAFETY: as in `buffer`.
        unsafe {
            checked(proxy_get_header_map_pairs(
                kind as u32,
                &raw mut data,
                &raw mut size,
            ))?;
            Ok(Self(taken(data, size)))
        }
    }

    /// Name and value of each header. Layout: a count, then two sizes for each, then the bytes of
    /// each name and each value with a zero behind.
    pub(in crate::host) fn iter(&self) -> Option<impl Iterator<Item = Header<'_>>> {
        let (count, rest) = self.0.split_first_chunk::<4>()?;
        let sizes = (u32::from_le_bytes(*count) as usize).checked_mul(8)?;
        let (sizes, mut bytes) = rest.split_at_checked(sizes)?;
        let mut take = move |size: &[u8]| {
            let size = u32::from_le_bytes(*size.first_chunk::<4>()?) as usize;
            let (text, rest) = bytes.split_at_checked(size)?;
            bytes = rest.get(1..)?;
            Some(text)
        };
        let mut pairs = Vec::with_capacity(sizes.len() / 8);
        for pair in sizes.chunks_exact(8) {
            let (name, value) = pair.split_at_checked(4)?;
            pairs.push((take(name)?, take(value)?));
        }
        Some(pairs.into_iter())
    }
}

/// Changes the request's headers; the reply to give when that fails.
pub(in crate::host) fn apply(changes: &[Change]) -> std::result::Result<(), Reply> {
    for change in changes {
        match change {
            Change::Remove(name) => remove(MapType::HttpRequestHeaders, name),
            Change::Set(name, value) => set_header(name, value),
            Change::Add(name, value) => add_header(name, value),
            Change::Nonce(name) => {
                streams::random().and_then(|bits| set_header(name, nonce(bits).as_bytes()))
            }
        }
        .map_err(|_| not_ready("a header cannot be changed"))?;
    }
    Ok(())
}

/// Takes off the trailers that the request must not have brought along; the reply to give when that fails.
pub(in crate::host) fn clean_trailers(trust: &[String]) -> std::result::Result<(), Reply> {
    let kind = MapType::HttpRequestTrailers;
    let unreadable = || not_ready("trailers");
    let trailers = Headers::of(kind).map_err(|_| unreadable())?;
    let trailers = trailers.iter().ok_or_else(unreadable)?;
    for name in forged_trailers(trailers, trust).map_err(|_| unreadable())? {
        remove(kind, name).map_err(|_| not_ready("a trailer cannot be changed"))?;
    }
    Ok(())
}

/// 16 bytes in base64.
fn nonce(bits: u128) -> String {
    base64::engine::general_purpose::STANDARD.encode(bits.to_le_bytes())
}

/// Takes everything of this name off.
fn remove(from: MapType, name: &str) -> Result<()> {
    // SAFETY: pointer and size are those of a live text.
    checked(unsafe { proxy_remove_header_map_value(from as u32, name.as_ptr(), name.len()) })
}

/// Puts one request header in the place of all of its name.
fn set_header(name: &str, value: &[u8]) -> Result<()> {
    let kind = MapType::HttpRequestHeaders as u32;
    // SAFETY: pointers and sizes are those of live texts.
    checked(unsafe {
        proxy_replace_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}

/// Adds a request header.
fn add_header(name: &str, value: &[u8]) -> Result<()> {
    let kind = MapType::HttpRequestHeaders as u32;
    // SAFETY: pointers and sizes are those of live texts.
    checked(unsafe {
        proxy_add_header_map_value(kind, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
}
