//! The Berth placement service: keeps the login sessions, knows the engines and their load, chooses
//! one for every WebSocket, and prepares the session there. A group imports only groups that are listed above it;
//! `tests/architecture.rs` checks that.

pub mod core;

pub mod config;

pub mod engines;

pub mod sessions;

pub mod placement;

pub mod events;

pub mod login;

pub mod gateways;

pub mod http;

pub mod app;
