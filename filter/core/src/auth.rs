//! Who a request comes from: verification of JWTs, the keys for it, and the tokens of login sessions that a worker
//! caches or fetches. Knows no request headers and no host.

pub mod jwks;
pub mod jwt;
pub mod single_flight;
pub mod token_cache;
pub mod verification_cache;
