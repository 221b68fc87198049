//! The service through its HTTP interface: a real listener, a real SQLite file, and a clock that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod accounts;
mod calls;
mod compat;
mod connections;
mod cut_off;
mod devices;
mod engines;
mod events;
mod families;
mod gateway_events;
mod gateways;
mod idp;
mod ledger;
mod limit;
mod lockout;
mod login;
mod logout;
mod module;
mod oidc;
mod oidc_faults;
mod oidc_logout;
mod open_files;
mod openapi;
mod operators;
mod placements;
mod read_only;
mod receiver;
mod security_events;
mod session;
mod sessions;
mod site;
mod stores;
mod strategies;
mod stream_limit;
mod stream_limit_replicas;
mod sweep;
mod takeover;
mod transmitter;
mod verification;
mod webhooks;
