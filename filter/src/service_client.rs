//! HTTP calls to the placement service, and their responses. Decides nothing.

use crate::abi::{self, DispatchError};
use berth_filter_core::config::Service;
use berth_filter_core::decision::response::MAX_ANSWER_BYTES;
use std::fmt::Display;

/// A response of the placement service, or of Envoy in its place.
pub(crate) struct ServiceResponse {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// The `:authority` for a label. A cluster that balances by hash sends calls of one label to one replica, because Envoy
/// hashes the authority of calls and of gRPC streams.
pub(crate) fn labelled_authority(service: &Service, label: impl Display) -> String {
    format!("{label}.{}", service.authority)
}

/// Sends a `POST` with a JSON body; returns the id of the call.
pub(crate) fn post(
    service: &Service,
    label: impl Display,
    path: &str,
    body: &[u8],
    timeout_ms: u32,
) -> Result<u32, DispatchError> {
    let authority = labelled_authority(service, label);
    let mut headers = Vec::with_capacity(5);
    headers.push((":method", "POST"));
    headers.push((":path", path));
    headers.push((":authority", authority.as_str()));
    headers.push(("content-type", "application/json"));
    if let Some(authorization) = &service.authorization {
        headers.push(("authorization", authorization.as_str()));
    }
    abi::dispatch_http_call(&service.cluster, headers, Some(body), timeout_ms)
}

/// The response to the call that has ended, if there is one. Reads one byte more than is allowed, which is enough for
/// the core to refuse the response.
pub(crate) fn read_response(size: usize) -> Option<ServiceResponse> {
    let status = abi::callout_status().ok()?;
    let body = match size.min(MAX_ANSWER_BYTES.saturating_add(1)) {
        0 => Vec::new(),
        size => abi::callout_body(size).ok()?,
    };
    Some(ServiceResponse { status, body })
}
