//! Builds the service from its configuration, runs it, and stops it in order. Imports every group; no group imports it.

mod build;
pub mod malloc;
mod run;
pub mod secrets;
pub mod stores;
pub mod telemetry;

pub use build::{ServiceError, build};
pub use run::{Listeners, run};
