//! The end-to-end tests are in `tests/`, one file per theme; this crate has no code of its own. They
//! drive real processes (Envoy with the built filter, the placement service, engine simulators) through
//! the crate `berth-harness`.
