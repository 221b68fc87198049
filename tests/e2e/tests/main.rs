//! The end-to-end tests: one module per topic in one program, which is linked once. They drive real processes (Envoy
//! with the built filter, the placement service, engine simulators) through the crate `berth-harness`.
//! `tests/setup/test.sh` runs them.

mod bearer;
mod browser;
mod cache;
mod chaos;
mod demo;
mod drain;
mod edge;
mod engines;
mod enigma;
mod families;
mod family_sockets;
mod lane;
mod leaks;
mod lifetime;
mod live;
mod login;
mod main_job;
mod memory;
mod oidc;
mod outages;
mod refusals;
mod replicas;
mod resume;
mod robust;
mod security_events;
mod service;
mod slow_bodies;
mod sockets;
mod stale;
mod store_gone;
mod stream_limit;
mod streams;
mod tls;
mod traps;
mod trust;
