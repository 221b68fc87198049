//! The host functions and callbacks of proxy-wasm that the filter needs: the list of
//! `capability_restriction_config`. The filter cannot call others, and callbacks that are not named are not called.

use serde::Serialize;

/// A host function or a callback.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Capability {
    pub name: &'static str,
    /// Why the filter needs it, if the name does not say it.
    pub about: &'static str,
}

const fn plain(name: &'static str) -> Capability {
    Capability { name, about: "" }
}

const fn about(name: &'static str, about: &'static str) -> Capability {
    Capability { name, about }
}

/// The callback for the responses of engines, which costs time with every response.
const RESPONSES: Capability = about(
    "proxy_on_response_headers",
    "Responses of engines to plain requests: cookies, and engines that do not answer.",
);

/// Those that the filter needs. `plain_http`: engines get requests that are no WebSockets.
pub(super) fn needed(plain_http: bool) -> Vec<Capability> {
    let responses = plain_http.then_some(RESPONSES);
    CAPABILITIES.iter().copied().chain(responses).collect()
}

/// Those that the filter always needs.
pub(super) const CAPABILITIES: &[Capability] = &[
    plain("proxy_on_vm_start"),
    plain("proxy_on_configure"),
    plain("proxy_on_context_create"),
    plain("proxy_on_memory_allocate"),
    plain("proxy_on_tick"),
    plain("proxy_on_request_headers"),
    about(
        "proxy_on_request_body",
        "Messages from clients: activity, and the place where a close frame is injected.",
    ),
    about("proxy_on_request_trailers", "Spoofed trailers are removed."),
    plain("proxy_on_http_call_response"),
    plain("proxy_on_grpc_receive"),
    plain("proxy_on_grpc_close"),
    plain("proxy_on_log"),
    plain("proxy_on_done"),
    plain("proxy_on_delete"),
    plain("proxy_get_header_map_pairs"),
    plain("proxy_get_header_map_value"),
    plain("proxy_add_header_map_value"),
    plain("proxy_replace_header_map_value"),
    plain("proxy_remove_header_map_value"),
    plain("proxy_get_buffer_bytes"),
    plain("proxy_set_buffer_bytes"),
    plain("proxy_get_property"),
    plain("proxy_set_property"),
    plain("proxy_http_call"),
    about(
        "proxy_grpc_stream",
        "The call stream to the placement service.",
    ),
    plain("proxy_grpc_send"),
    plain("proxy_grpc_cancel"),
    plain("proxy_continue_stream"),
    plain("proxy_send_local_response"),
    plain("proxy_close_stream"),
    plain("proxy_set_effective_context"),
    plain("proxy_set_tick_period_milliseconds"),
    plain("proxy_get_current_time_nanoseconds"),
    plain("proxy_define_metric"),
    plain("proxy_increment_metric"),
    plain("proxy_record_metric"),
    plain("proxy_log"),
    plain("clock_time_get"),
    plain("environ_get"),
    plain("environ_sizes_get"),
    plain("fd_write"),
    plain("proc_exit"),
    plain("random_get"),
];
