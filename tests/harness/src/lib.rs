//! The test harness: starts and owns real processes (engine simulators, the placement service, Envoy with the
//! filter), connects them on free ports, and ends them in every case. `make run`, the end-to-end tests and the
//! benchmark share it. It asserts nothing.

pub mod app;
pub mod certificate;
pub mod client;
pub mod control;
pub mod demo;
pub mod engine;
pub mod envoy;
pub mod fake_service;
pub mod http_engine;
pub mod oidc_provider;
pub mod paths;
pub mod process;
pub mod render;
pub mod restart_policy;
pub mod service;
pub mod stack;
pub mod tls_terminator;
pub mod token;
pub mod usage;
pub mod wait;

pub use client::{Browser, Call, Qix, Reply, WebSocket};
pub use fake_service::FakeService;
pub use http_engine::HttpEngine;
pub use stack::Stack;

/// Any failure of the harness, with a message for the test's output.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether long tests run at full length: `make soak`.
#[must_use]
pub fn is_soak() -> bool {
    std::env::var_os("BERTH_SOAK").is_some()
}

/// The result type of the harness.
pub type Result<T, E = Error> = std::result::Result<T, E>;
