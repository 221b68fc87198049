//! Every call to Envoy, each with a `Result`. The SDK's own wrappers panic on a status that they do
//! not expect, and a panic kills every stream of the worker; so the ABI (proxy-wasm 0.2.1) is called
//! directly, and only `dispatch_http_call` and `open_grpc_stream`, which the SDK must know of, go through it.
//!
//! # Calls that come back into the module
//! Envoy keeps what a failed call has to say of itself in a queue, and works the queue off when it leaves the module. An
//! entry of that queue that finds the module entered puts itself at the end of the queue again. So a worker spins for ever when,
//! while the module is entered, a call has failed inside itself (1) and then Envoy enters the module a second time and leaves it (2).
//! (Envoy's `Context::onHttpCallSuccess`, `onHttpCallFailure` and `onGrpcCloseWrapper`; proxy-wasm-cpp-host's
//! `DeferAfterCallActions`.)
//!
//! | call | (1) queues an entry when it fails | (2) enters the module |
//! |---|---|---|
//! | [`reset_request`] | no | yes: `proxy_on_done`, `proxy_on_delete` of the request |
//! | [`grpc::open`] | yes: no endpoint, name not resolved, circuit breaker open | only if the module exports the callbacks of gRPC metadata |
//! | [`call`] | yes: the same | no |
//! | [`grpc::send`] | yes: the connection is lost | no |
//! | [`grpc::cancel`], [`resume_request`], [`reply`], all others | no | no |
//!
//! Hence the rules, in this order:
//! 1. The module exports no callback that it does not use, least of all those of gRPC metadata (`tests/setup/exports.mjs`).
//! 2. Requests are reset by a tick of the root context alone, and that tick calls nothing else; what has to reset one notes it
//!    ([`super::gateway::Gateway::reset_later`]). What `proxy_on_done` of such a request calls cannot fail inside itself, as its
//!    call was taken back when the reset was noted. (After such an entry the SDK, too, takes the request for the context of
//!    what is called, and its answer would be lost.)
//! 3. Every other tick opens the stream first, and then makes the calls that are due.
//! 4. The callback of a call that has failed starts no call: it notes what is to be called, and the next tick calls.
#![allow(unsafe_code, reason = "the proxy-wasm ABI takes raw pointers")]

pub(super) mod grpc;
mod headers;
pub(super) mod streams;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, StreamType};
use std::time::Duration;

pub(super) use headers::{Headers, apply, clean_trailers};

/// A call that Envoy refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

pub(super) type Result<T> = std::result::Result<T, Refused>;

/// Levels of `proxy_log`.
#[derive(Clone, Copy)]
pub(super) enum LogLevel {
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_value(
        kind: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_continue_stream(kind: u32) -> u32;
    fn proxy_close_stream(kind: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
}

const fn checked(status: u32) -> Result<()> {
    if status == OK { Ok(()) } else { Err(Refused) }
}

/// Takes over a buffer that Envoy wrote into memory it had from the SDK's allocator.
///
/// # Safety
/// `data` must come from `proxy_on_memory_allocate(size)`, or be null.
unsafe fn taken(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the allocator made exactly this allocation, and nobody else owns it.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Writes a line into Envoy's log. A line that is lost is no reason to fail a request.
pub(super) fn log(level: LogLevel, text: &str) {
    // SAFETY: pointer and size are those of a live text.
    let _ = unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> Result<u64> {
    now_us().map(|now| now / 1_000)
}

/// Microseconds since 1970.
pub(super) fn now_us() -> Result<u64> {
    let mut time = 0;
    // SAFETY: the pointer is that of a live integer.
    checked(unsafe { proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time / 1_000)
}

/// How often `on_tick` comes.
pub(super) fn set_tick_period_ms(period: u32) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_set_tick_period_milliseconds(period) })
}

fn buffer(kind: BufferType, start: usize, max: usize) -> Result<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both pointers are those of live variables; the buffer is then ours.
    unsafe {
        checked(proxy_get_buffer_bytes(
            kind as u32,
            start,
            max,
            &raw mut data,
            &raw mut size,
        ))?;
        Ok(taken(data, size))
    }
}

/// The plugin's configuration.
pub(super) fn configuration(max: usize) -> Result<Vec<u8>> {
    buffer(BufferType::PluginConfiguration, 0, max)
}

/// The body of the callout's answer.
pub(super) fn callout_body(max: usize) -> Result<Vec<u8>> {
    buffer(BufferType::HttpCallResponseBody, 0, max)
}

/// The status of the callout's answer.
pub(super) fn callout_status() -> Result<u16> {
    let name = ":status";
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: as in `buffer`.
    let value = unsafe {
        checked(proxy_get_header_map_value(
            MapType::HttpCallResponseHeaders as u32,
            name.as_ptr(),
            name.len(),
            &raw mut data,
            &raw mut size,
        ))?;
        taken(data, size)
    };
    str::from_utf8(&value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Refused)
}

/// Keeps a text for the access log: `%FILTER_STATE(wasm.<name>:PLAIN)%`.
pub(super) fn set_property(name: &str, value: &str) -> Result<()> {
    // SAFETY: pointers and sizes are those of live texts.
    checked(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Lets the request go on.
pub(super) fn resume_request() -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_continue_stream(StreamType::HttpRequest as u32) })
}

/// Ends the request without an answer.
pub(super) fn reset_request() -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_close_stream(StreamType::HttpRequest as u32) })
}

/// Answers the request; `details` is for Envoy's access log.
pub(super) fn reply(
    status: u16,
    details: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Result<()> {
    let headers = serialized(headers);
    // SAFETY: pointers and sizes are those of live buffers.
    checked(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    })
}

/// Headers in the layout that [`Headers::iter`] reads.
fn serialized(headers: &[(&str, String)]) -> Vec<u8> {
    // Sizes are those of texts in a 32-bit memory.
    #[allow(clippy::cast_possible_truncation, reason = "usize has 32 bits here")]
    let size = |n: usize| (n as u32).to_le_bytes();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&size(headers.len()));
    for (name, value) in headers {
        bytes.extend_from_slice(&size(name.len()));
        bytes.extend_from_slice(&size(value.len()));
    }
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// Makes a counter, or finds the one of that name.
pub(super) fn define_counter(name: &str) -> Result<u32> {
    define_metric(MetricType::Counter, name)
}

/// Makes a histogram, or finds the one of that name.
pub(super) fn define_histogram(name: &str) -> Result<u32> {
    define_metric(MetricType::Histogram, name)
}

fn define_metric(kind: MetricType, name: &str) -> Result<u32> {
    let mut id = 0;
    let kind = kind as u32;
    // SAFETY: pointers are those of a live text and a live integer.
    checked(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Counts one.
pub(super) fn increment(counter: u32) -> Result<()> {
    add(counter, 1)
}

/// Counts up, or down.
pub(super) fn add(metric: u32, change: i64) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_increment_metric(metric, change) })
}

/// Takes a value into a histogram.
pub(super) fn record(histogram: u32, value: u64) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_record_metric(histogram, value) })
}

/// Why a callout did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// Envoy knows no such cluster.
    ClusterMissing,
    /// Anything else.
    Failed,
}

/// Calls a cluster; the answer comes to the current context with the number returned here.
pub(super) fn call(
    cluster: &str,
    headers: Vec<(&str, &str)>,
    body: Option<&[u8]>,
    timeout_ms: u32,
) -> std::result::Result<u32, NotSent> {
    let timeout = Duration::from_millis(u64::from(timeout_ms));
    hostcalls::dispatch_http_call(cluster, headers, body, Vec::new(), timeout).map_err(|status| {
        if status == proxy_wasm::types::Status::BadArgument {
            NotSent::ClusterMissing
        } else {
            NotSent::Failed
        }
    })
}
