//! Routes for gateways: placements, tokens and events, as JSON requests or on a call stream.

pub(super) mod auth;
pub(super) mod events;
pub(super) mod grpc;
pub(super) mod placements;
mod refusal_log;
pub(super) mod tokens;
