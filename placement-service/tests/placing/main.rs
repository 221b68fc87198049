//! The placement use case with simulated engines over real sockets: what a client gets, and what an engine sees.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod capacity;
mod faults;
mod load;
mod resume;
mod site;
mod success;
