//! Calls for a gRPC stream. Opening goes through the SDK, which must know the context of the stream.

use super::{HostError, Result, buffer, checked};
use prost::Message;
use proxy_wasm::hostcalls;
use proxy_wasm::types::BufferType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_grpc_send(stream: u32, message: *const u8, size: usize, end: u32) -> u32;
    fn proxy_grpc_cancel(stream: u32) -> u32;
}

/// The used fields of `envoy.config.core.v3.GrpcService`. Envoy also accepts the bare name of a cluster, but crashes
/// when the name parses as this message (`placement-1` does).
#[derive(Message)]
struct GrpcService {
    #[prost(message, optional, tag = "1")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(Message)]
struct EnvoyGrpc {
    #[prost(string, tag = "1")]
    cluster_name: String,
    /// Without it Envoy sends the name of the cluster as `:authority`, and HTTP/2 servers refuse names that are no
    /// authority (`outbound|9455||berth.example.svc`).
    #[prost(string, tag = "2")]
    authority: String,
}

/// Opens a stream to a cluster. Its messages go to the context in effect, with the stream id that this returns. A
/// cluster that balances by hash hashes `authority`.
pub(crate) fn open(
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
    // SAFETY: the SDK takes a `&str` but only passes on its pointer and length. The bytes may be invalid UTF-8 (lengths
    // above 127 are), which is sound as long as nothing reads them as text.
    let target = unsafe { str::from_utf8_unchecked(&target) };
    hostcalls::open_grpc_stream(target, service, method, metadata).map_err(|_| HostError)
}

/// Sends a message.
pub(crate) fn send(stream: u32, message: &[u8]) -> Result<()> {
    // SAFETY: pointer and size are of a live buffer.
    checked(unsafe { proxy_grpc_send(stream, message.as_ptr(), message.len(), 0) })
}

/// Resets a stream. No further callback follows.
pub(crate) fn cancel(stream: u32) -> Result<()> {
    // SAFETY: no pointers.
    checked(unsafe { proxy_grpc_cancel(stream) })
}

/// The message that has arrived.
pub(crate) fn message(size: usize) -> Result<Vec<u8>> {
    buffer(BufferType::GrpcReceiveBuffer, 0, size)
}
