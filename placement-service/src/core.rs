//! What every other group uses: time, secrets, refusals, HTTP clients, metrics, and rules for untrusted texts. Knows no
//! session, no engine and no configuration.

pub mod aead;
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
