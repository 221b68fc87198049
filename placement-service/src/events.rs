//! Events about sessions, outgoing and incoming: readers and the follower of the event log, webhooks, and security
//! events that other systems push. Must not know placement or login.

pub mod follower;
pub mod log;
pub mod public_keys;
pub mod remote_keys;
pub mod security_events;
pub mod webhooks;
