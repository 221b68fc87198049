//! The engines of keys that a worker knows, so that further requests of a key need no call. Knows no route and no host
//! of the proxy; what a key is, is the service's decision.
//!
//! The first requests of a scope share one call: [`SingleFlight`](crate::auth::single_flight::SingleFlight) with
//! [`CacheKey::for_route`](crate::auth::token_cache::CacheKey::for_route) as the key, since a scope is known only from
//! the answer. When it arrives, each waiter looks into the cache again; one whose path is in another scope calls itself.

mod cache;
mod changes;
mod engine_route;
mod lookup;

pub use cache::{AffinityCache, MAX_SCOPES};
pub use engine_route::EngineRoute;
pub use lookup::EngineLookup;
