//! The simulated engine from outside: every behaviour over real sockets on free ports.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "clippy spares test functions, not their helpers"
)]

mod client;
mod faults;
mod frames;
mod http;
mod process;
mod protocol;
mod session;
