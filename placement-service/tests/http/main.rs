//! The service through its HTTP interface: a real listener, a real SQLite file, and a clock that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod accounts;
mod call_stream;
mod compat;
mod connections;
mod store_partition;
mod device_cookies;
mod engines;
mod events;
mod child_sessions;
mod gateway_events;
mod gateways;
mod fake_provider;
mod ledger;
mod session_limit;
mod lockout;
mod login;
mod logout;
mod browser_module;
mod oidc;
mod oidc_faults;
mod oidc_logout;
mod open_files;
mod openapi;
mod health;
mod placements;
mod read_only;
mod webhook_receiver;
mod security_events;
mod browser_session;
mod admin_sessions;
mod site;
mod store_outages;
mod strategies;
mod stream_limit;
mod stream_limit_replicas;
mod cleanup;
mod webhook_takeover;
mod transmitter;
mod webhook_signature;
mod webhooks;
