//! The Berth placement service: keeps the login sessions, knows the engines and their load, chooses
//! one for every WebSocket, and prepares the session there.

pub mod capacity_ledger;
pub mod names;
pub mod log_filter;
pub mod strategy;
pub mod stream_holder;
pub mod clock;
pub mod config;
pub mod open_files;
pub mod outbound;
pub mod refusal;
pub mod secret;

// Login side.
pub mod accounts;
pub mod client_address;
pub mod credentials;
pub mod devices;
pub mod events;
pub mod feed;
pub mod gateways;
pub mod http;
pub mod keys;
mod lock_out;
mod log_sampler;
pub mod login;
pub mod login_rate;
pub mod metrics;
pub mod oidc;
pub mod password;
pub mod remote_keys;
pub mod return_to;
pub mod security_events;
pub mod server;
pub mod server_keys;
pub mod service;
pub mod sessions;
pub mod store;
pub mod telemetry;
pub mod tokens;
pub mod webhooks;

pub use berth_store::session_id;

// Fleet side.
pub mod cost;
pub mod discovery;
pub mod drains;
pub mod driver;
pub mod engine;
pub mod fleet;
pub mod ledger;
pub mod placement;
pub mod placer;
pub mod probe;
pub mod reservation;
pub mod suspicion;
pub mod target;
