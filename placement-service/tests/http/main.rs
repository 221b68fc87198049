//! The service through its HTTP interface: a real listener, a real SQLite file, and a clock that the test moves.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod accounts;
mod admin_sessions;
mod affinity;
mod affinity_counting;
mod affinity_faults;
mod affinity_ledger;
mod affinity_moves;
mod authorization;
mod browser_module;
mod browser_session;
mod call_gateway;
mod call_stream;
mod certificates;
mod child_rights;
mod child_sessions;
mod cleanup;
mod compat;
mod connections;
mod device_cookies;
mod engine_session_handover;
mod engine_sessions;
mod engine_tls;
mod engines;
mod events;
mod fake_provider;
mod gateway_drains;
mod gateway_events;
mod gateway_reports;
mod gateway_versions;
mod gateways;
mod health;
mod ledger;
mod ledger_probes;
mod lockout;
mod login;
mod logout;
mod lost_parents;
mod metrics;
mod migration;
mod oidc;
mod oidc_back_channel;
mod oidc_faults;
mod oidc_fields;
mod oidc_keys;
mod oidc_logout;
mod oidc_metadata;
mod open_files;
mod openapi;
mod own_account;
mod placements;
mod provider_accounts;
mod read_only;
mod reporting_gateway;
mod request_ids;
mod security_events;
mod session_limit;
mod site;
mod store_outages;
mod store_partition;
mod store_writes;
mod strategies;
mod stream_limit;
mod stream_limit_replicas;
mod streams;
mod tab_resume;
mod tls;
mod token_placements;
mod transmitter;
mod warnings;
mod webhook_caep;
mod webhook_receiver;
mod webhook_signature;
mod webhook_takeover;
mod webhooks;
