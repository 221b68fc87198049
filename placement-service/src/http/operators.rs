//! Routes for operators and runtimes: engines, sessions, events, webhooks.

pub(super) mod affinities;
pub(super) mod auth;
pub(super) mod child_sessions;
pub(super) mod clients;
pub(super) mod engines;
pub mod events;
pub(super) mod gateways;
mod query;
pub(super) mod reload;
pub mod session_requests;
pub(super) mod sessions;
pub(super) mod streams;
pub(super) mod webhooks;
