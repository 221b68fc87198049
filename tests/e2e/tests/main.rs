//! The end-to-end tests: one module per topic in one program, which is linked once. They drive real processes (Envoy
//! with the built filter, the placement service, engine simulators) through the crate `berth-harness`.
//! `tests/setup/test.sh` runs them.

mod bearer;
mod behind_proxy;
mod browser;
mod cache;
mod call_stream;
mod chaos;
mod child_session_sockets;
mod child_sessions;
mod cookies;
mod core_flow;
mod demo;
mod documents;
mod drain;
mod drain_gateway;
mod engine_faults;
mod engine_sessions;
mod engines;
mod enigma;
mod handshakes;
mod isolation;
mod leaks;
mod lifetime;
mod listener;
mod live;
mod login;
mod memory;
mod node;
mod oidc;
mod outages;
mod rejections;
mod replicas;
mod resume;
mod security_events;
mod service_faults;
mod session_state;
mod slow_bodies;
mod sockets;
mod spoofed_headers;
mod stale_cookies;
mod store_outages;
mod stream_limit;
mod streams;
mod tls;
mod traps;
