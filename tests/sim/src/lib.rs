//! Fleets with a virtual clock: what each strategy makes of the same sessions. The placement code is the
//! service's own; engines, clients and gateways are modelled.

mod fleet;
mod player;
mod random;
pub mod report;
pub mod run;
pub mod scenario;
pub mod speed;
mod workload;

pub use player::Player;
