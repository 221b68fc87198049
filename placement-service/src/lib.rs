//! The Berth placement service: it keeps login sessions, tracks the engines and their load, selects an engine for each
//! WebSocket and prepares the engine session there. A group imports only the groups listed above it;
//! `tests/architecture.rs` checks this.

pub mod core;

pub mod config;

pub mod engines;

pub mod sessions;

pub mod placement;

pub mod events;

pub mod login;

pub mod gateways;

pub mod http;

pub mod render;

pub mod review;

pub mod app;
