//! What happens to sessions, for others: the event log, whoever follows it, webhooks, and events that other systems
//! push. Knows no placement and no login.

pub mod follower;
pub mod log;
pub mod remote_keys;
pub mod security_events;
pub mod webhooks;
