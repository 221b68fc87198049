//! Requests to the placement service, and what their answers say. Decides nothing.

use super::calls::{self, NotSent};
use super::root::Shared;
use crate::config::Service;
use crate::flow::{self, Verdict};
use crate::placement::MAX_ANSWER_BYTES;
use crate::step::Failure;
use std::fmt::Display;

/// What the placement service, or Envoy in its stead, has answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The authority of what is sent under this label. A cluster that balances by a hash sends what has one label to one
/// replica, as Envoy hashes the authority of calls and of gRPC streams.
pub(super) fn labelled_authority(service: &Service, label: impl Display) -> String {
    format!("{label}.{}", service.authority)
}

/// Calls the placement service by a request: a `POST` with a JSON body.
pub(super) fn post(
    service: &Service,
    label: impl Display,
    path: &str,
    body: &[u8],
    timeout_ms: u32,
) -> Result<u32, NotSent> {
    let authority = labelled_authority(service, label);
    let mut headers = Vec::with_capacity(5);
    headers.push((":method", "POST"));
    headers.push((":path", path));
    headers.push((":authority", authority.as_str()));
    headers.push(("content-type", "application/json"));
    if let Some(authorization) = &service.authorization {
        headers.push(("authorization", authorization.as_str()));
    }
    calls::call(&service.cluster, headers, Some(body), timeout_ms)
}

/// What an answer says of its session.
pub(super) fn verdict(shared: &Shared, answer: Option<Answer>) -> Verdict {
    let ended = |session_ref: &str| shared.gateway.has_ended(session_ref);
    match answer.zip(shared.keys()) {
        Some((Answer { status, body }, keys)) => flow::verdict(&keys, &ended, status, &body),
        None => Err(Failure::Unreachable.into()),
    }
}

/// The answer of the callout that has ended, if there is one. One byte more than is allowed is enough to refuse it.
pub(super) fn callout_answer(size: usize) -> Option<Answer> {
    let status = calls::callout_status().ok()?;
    let body = match size.min(MAX_ANSWER_BYTES.saturating_add(1)) {
        0 => Vec::new(),
        size => calls::callout_body(size).ok()?,
    };
    Some(Answer { status, body })
}
