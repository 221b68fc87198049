//! The calls of a gRPC stream. Opening it goes through the SDK, which must know whose it is.

use super::{Refused, Result, buffer, checked};
use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_grpc_send(stream: u32, message: *const u8, size: usize, end: u32) -> u32;
    fn proxy_grpc_cancel(stream: u32) -> u32;
}

/// `envoy.config.core.v3.GrpcService`, as far as it is needed. Envoy takes a cluster's bare name, too, unless it
/// happens to parse as this message (`placement-1` does), which ends Envoy.
#[derive(Message)]
struct GrpcService {
    #[prost(message, optional, tag = "1")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(Message)]
struct EnvoyGrpc {
    #[prost(string, tag = "1")]
    cluster_name: String,
    /// Without it Envoy sends the cluster's name as `:authority`, which HTTP/2 servers refuse when it is none
    /// (`outbound|9455||berth.example.svc`).
    #[prost(string, tag = "2")]
    authority: String,
}

/// Opens a stream to a cluster; what comes on it comes to the current context, with the number returned here. A cluster
/// that balances by a hash hashes `authority`.
pub(in crate::host) fn open(
    cluster: &str,
    authority: &str,
    service: &str,
    method: &str,
    authorization: Option<&str>,
) -> Result<u32> {
    let authorization = authorization.map(|value| ("authorization", value.as_bytes()));
    let metadata = authorization.into_iter().collect();
    let target = EnvoyGrpc {
        cluster_name: cluster.to_owned(),
        authority: authority.to_owned(),
    };
    let target = GrpcService {
        envoy_grpc: Some(target),
    };
    let target = target.encode_to_vec();
    // SAFETY: the SDK wants a text and hands on its pointer and length; the lengths in a message of more than 127
    // bytes are no UTF-8. A `str` that is not UTF-8 is no undefined behaviour as long as nothing reads it as text.
    let target = unsafe { str::from_utf8_unchecked(&target) };
    hostcalls::open_grpc_stream(target, service, method, metadata).map_err(|_| Refused)
}

/// Sends a message.
pub(in crate::host) fn send(stream: u32, message: &[u8]) -> Result<()> {
    // SAFETY: pointer and size are those of a live buffer.
    checked(unsafe { proxy_grpc_send(stream, message.as_ptr(), message.len(), 0) })
}

/// Cuts a stream off. Nothing more is heard of it.
pub(in crate::host) fn cancel(stream: u32) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_grpc_cancel(stream) })
}

/// The message that has come.
pub(in crate::host) fn message(size: usize) -> Result<Vec<u8>> {
    buffer(BufferType::GrpcReceiveBuffer, 0, size)
}
