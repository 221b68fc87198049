//! Puts the service together and runs it: store, sessions, fleet, HTTP; and lets it end in order.

mod build;
pub mod malloc;
mod run;
pub mod secrets;
pub mod stores;
pub mod telemetry;

pub use build::{ServiceError, build};
pub use run::{Listeners, run};
