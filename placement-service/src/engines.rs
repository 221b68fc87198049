//! The engines: their discovery, health, shared capacity ledger, drains, and the drivers that prepare a session on
//! them. Must not know login sessions or routes.

pub mod discovery;
pub mod drains;
pub mod drivers;
pub mod fleet;
pub mod health;
pub mod ledger;
