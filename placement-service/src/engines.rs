//! The engines: how they are found, probed, counted, drained, and prepared for a client. Knows no login session and
//! no route.

pub mod discovery;
pub mod drains;
pub mod drivers;
pub mod fleet;
pub mod health;
pub mod ledger;
