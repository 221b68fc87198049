//! Every call to Envoy, each with a `Result`. The SDK's own wrappers panic on a status that they do not expect, and a
//! panic ends every stream of the worker. So the ABI
//! ([proxy-wasm 0.2.1](https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1)) is called directly. Only
//! `dispatch_http_call` and `open_grpc_stream` go through the SDK, which must know their context.
//!
//! # Calls that re-enter the module
//! When a call fails within the host call itself, Envoy queues the notification and runs the queue when it leaves the
//! module. An entry of that queue that finds the module entered appends itself to the queue again. So a worker spins
//! forever when, while the module is entered, a call fails within itself (1), and then Envoy enters the module a second
//! time and leaves it (2). (Envoy's `Context::onHttpCallSuccess`, `onHttpCallFailure` and `onGrpcCloseWrapper`;
//! proxy-wasm-cpp-host's `DeferAfterCallActions`.)
//!
//! | call | (1) queues an entry when it fails | (2) enters the module |
//! |---|---|---|
//! | [`reset_request`] | no | yes: `proxy_on_done`, `proxy_on_delete` of the request |
//! | [`grpc::open`] | yes: no endpoint, name not resolved, circuit breaker open | only if the module exports the callbacks of gRPC metadata |
//! | [`dispatch_http_call`] | yes: the same | no |
//! | [`grpc::send`] | yes: the connection is lost | no |
//! | [`grpc::cancel`], [`resume_request`], [`send_local_reply`], all others | no | no: Envoy carries out the last two after it has left the module, and only then `proxy_on_response_headers` enters it |
//!
//! Hence the rules, in this order:
//! 1. The module exports only callbacks that it uses, and none of gRPC metadata (`tests/setup/exports.mjs`).
//! 2. Only a tick of the root context resets requests, and that tick makes no other call. Code that has to reset a
//!    request registers it ([`crate::control::Gateway::reset_later`]). Its call is cancelled at that moment, so nothing
//!    that `proxy_on_done` of the request calls can fail within itself. (After such an entry the SDK, too, takes the
//!    request for the context of the next call, and the response would be lost.)
//! 3. Every other tick opens the call stream first, and then makes the calls that are due.
//! 4. The callback of a failed call starts no call: it records what to call, and the next tick makes the call.
#![allow(unsafe_code, reason = "the proxy-wasm ABI takes raw pointers")]

pub(crate) mod grpc;
mod headers;
pub(crate) mod streams;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, StreamType};
use std::time::Duration;

pub(crate) use headers::{Headers, apply_mutations, replace_set_cookies, strip_trailers};

/// A host call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HostError;

pub(crate) type Result<T> = std::result::Result<T, HostError>;

/// Levels of `proxy_log`.
#[derive(Clone, Copy)]
pub(crate) enum LogLevel {
    Trace = 0,
    Debug = 1,
    Info = 2,
    Warn = 3,
    Error = 4,
}

const OK: u32 = 0;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time_ns: *mut u64) -> u32;
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
    if status == OK { Ok(()) } else { Err(HostError) }
}

/// Takes ownership of a buffer that Envoy allocated with the SDK's allocator.
///
/// # Safety
/// `data` must come from `proxy_on_memory_allocate(size)`, or be null.
unsafe fn take_buffer(data: *mut u8, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    // SAFETY: the allocator made exactly this allocation, and it has no other owner.
    unsafe { Vec::from_raw_parts(data, size, size) }
}

/// Writes a line to Envoy's log. A failure is ignored: it is no reason to refuse a request.
pub(crate) fn log(level: LogLevel, text: &str) {
    // SAFETY: pointer and size are of a live text.
    let _ = unsafe { proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> Result<u64> {
    now_us().map(|now| now / 1_000)
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> Result<u64> {
    let mut time_ns = 0;
    // SAFETY: the pointer is of a live integer.
    checked(unsafe { proxy_get_current_time_nanoseconds(&raw mut time_ns) })?;
    Ok(time_ns / 1_000)
}

/// The period of `on_tick`.
pub(crate) fn set_tick_period_ms(period: u32) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_set_tick_period_milliseconds(period) })
}

fn buffer(kind: BufferType, start: usize, max: usize) -> Result<Vec<u8>> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both pointers are of live variables; the module owns the buffer.
    unsafe {
        checked(proxy_get_buffer_bytes(
            kind as u32,
            start,
            max,
            &raw mut data,
            &raw mut size,
        ))?;
        Ok(take_buffer(data, size))
    }
}

/// The configuration of the plugin.
pub(crate) fn configuration(max: usize) -> Result<Vec<u8>> {
    buffer(BufferType::PluginConfiguration, 0, max)
}

/// The body of the response to the HTTP call.
pub(crate) fn callout_body(max: usize) -> Result<Vec<u8>> {
    buffer(BufferType::HttpCallResponseBody, 0, max)
}

/// The status of the response to the HTTP call.
pub(crate) fn callout_status() -> Result<u16> {
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
        take_buffer(data, size)
    };
    str::from_utf8(&value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(HostError)
}

/// Sets a text for the access log: `%FILTER_STATE(wasm.<name>:PLAIN)%`.
pub(crate) fn set_property(name: &str, value: &str) -> Result<()> {
    // SAFETY: pointers and sizes are of live texts.
    checked(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Resumes the request.
pub(crate) fn resume_request() -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_continue_stream(StreamType::HttpRequest as u32) })
}

/// Resets the request: ends it without a response.
pub(crate) fn reset_request() -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_close_stream(StreamType::HttpRequest as u32) })
}

/// Answers the request; `details` goes to Envoy's access log.
pub(crate) fn send_local_reply(
    status: u16,
    details: &str,
    headers: &[(&str, String)],
    body: &[u8],
) -> Result<()> {
    let headers = serialize(headers);
    // SAFETY: pointers and sizes are of live buffers.
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

/// Serializes headers in the layout that [`Headers::iter`] reads.
fn serialize(headers: &[(&str, String)]) -> Vec<u8> {
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

/// Defines a counter, or finds the one of that name.
pub(crate) fn define_counter(name: &str) -> Result<u32> {
    define_metric(MetricType::Counter, name)
}

/// Defines a gauge, or finds the one of that name.
pub(crate) fn define_gauge(name: &str) -> Result<u32> {
    define_metric(MetricType::Gauge, name)
}

/// Defines a histogram, or finds the one of that name.
pub(crate) fn define_histogram(name: &str) -> Result<u32> {
    define_metric(MetricType::Histogram, name)
}

fn define_metric(kind: MetricType, name: &str) -> Result<u32> {
    let mut id = 0;
    let kind = kind as u32;
    // SAFETY: pointers are of a live text and a live integer.
    checked(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

/// Increments a counter by one.
pub(crate) fn increment(counter: u32) -> Result<()> {
    add(counter, 1)
}

/// Adds to a metric.
pub(crate) fn add(metric: u32, change: i64) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_increment_metric(metric, change) })
}

/// Records a value in a histogram, or sets a gauge.
pub(crate) fn record(histogram: u32, value: u64) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_record_metric(histogram, value) })
}

/// Why an HTTP call did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DispatchError {
    /// Envoy has no such cluster.
    ClusterMissing,
    /// Anything else.
    Failed,
}

/// Calls a cluster. The response goes to the context in effect, with the call id that this returns.
pub(crate) fn dispatch_http_call(
    cluster: &str,
    headers: Vec<(&str, &str)>,
    body: Option<&[u8]>,
    timeout_ms: u32,
) -> std::result::Result<u32, DispatchError> {
    let timeout = Duration::from_millis(u64::from(timeout_ms));
    hostcalls::dispatch_http_call(cluster, headers, body, Vec::new(), timeout).map_err(|status| {
        if status == proxy_wasm::types::Status::BadArgument {
            DispatchError::ClusterMissing
        } else {
            DispatchError::Failed
        }
    })
}
