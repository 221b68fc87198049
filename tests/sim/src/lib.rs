//! Simulates fleets with a virtual clock, and compares how the strategies place the same sessions. The scheduler is the
//! service's own; engines, clients and gateways are modelled.

mod fleet;
mod policy;
mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod speed;
mod workload;

pub use policy::Policy;
