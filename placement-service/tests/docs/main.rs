//! The documentation is right: links lead somewhere, commands run, examples load, and tables match the code.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test's own steps may fail it"
)]

mod commands;
mod engine_pages;
mod links;
mod messages;
mod pages;
mod reference;
mod threats;
