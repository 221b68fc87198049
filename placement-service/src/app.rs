//! Builds the service from its configuration, runs it, and stops it in order. Imports every group; no group imports it.

mod build;
mod live;
pub mod malloc;
pub mod reload;
mod run;
pub mod secrets;
pub mod stores;
pub mod telemetry;

pub use build::{ServiceError, build};
pub use live::LiveApp;
pub use run::{Listeners, run};
