//! The foundation of every other group: time, secrets, rejections, HTTP clients, metrics, and validation of untrusted
//! text. Knows no session, no engine and no configuration.

pub mod account_key;
pub mod aead;
pub mod affinity_key;
pub mod backoff;
pub mod client_address;
pub mod clock;
pub mod header_template;
pub mod http_client;
pub mod jws;
pub mod log_filter;
pub(crate) mod log_sampler;
pub mod metrics;
pub mod names;
pub mod open_files;
pub mod path_template;
pub mod rejection;
pub(crate) mod request_id;
pub mod return_to;
pub mod secret;
pub mod text_template;
pub(crate) mod ticker;
pub mod tls;
