//! The foundation of every other group: time, secrets, rejections, HTTP clients, metrics, and validation of untrusted
//! text. Knows no session, no engine and no configuration.

pub mod account_key;
pub mod aead;
pub mod backoff;
pub mod client_address;
pub mod clock;
pub mod http_client;
pub mod log_filter;
pub(crate) mod log_sampler;
pub mod metrics;
pub mod names;
pub mod open_files;
pub mod rejection;
pub mod return_to;
pub mod secret;
pub(crate) mod ticker;
