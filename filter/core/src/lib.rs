//! The decisions of the Berth filter: which requests pass, what they are called for, which streams end.
//!
//! This crate is plain Rust without a proxy in its dependencies. It reads headers, decides, and returns effects
//! that the host adapter (`berth-filter`) carries out. Time and randomness are arguments. So every decision is
//! tested natively, on `wasm32-unknown-unknown`, and once more through the built module.
//!
//! A module imports only modules before it in this order, which `filter/tests/imports.rs` checks:
//! [`retry`] < [`request`] < [`routing`] < [`streams`] < [`auth`], [`control`] < [`affinity`] < [`config`] <
//! [`decision`].
//!
//! Nothing here may panic: a panic is a trap, and a trap ends every stream of the Envoy worker.

pub mod affinity;
pub mod auth;
pub mod config;
pub mod control;
pub mod decision;
pub mod request;
pub mod retry;
pub mod routing;
pub mod streams;
