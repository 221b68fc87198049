//! What gateways ask for: placements, tokens, events; by JSON or on a stream of calls.

pub(super) mod auth;
pub(super) mod events;
pub(super) mod grpc;
pub(super) mod placements;
pub(super) mod tokens;
