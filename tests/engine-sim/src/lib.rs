//! A simulated QIX engine: what clients, gateways and probes see of a real one, without its calculations.
//!
//! [`start`] runs it in the caller's runtime; the binary `engine-sim` is a thin command line for it. The crate must
//! not know Berth: it implements only what the public QIX documentation describes, plus an admin interface on the
//! metrics port and faults on demand.

mod accept;
mod admin;
mod clock;
mod connection;
mod documents;
mod engine;
mod faults;
mod head;
mod health;
mod metrics;
mod options;
mod rpc;
mod sessions;
mod socket;
mod stats;
mod token;
mod upgrades;

pub use engine::{Engine, start};
pub use faults::{FaultError, FaultSwitch, Faults, WrongJson};
pub use options::{Document, Options};
pub use sessions::SessionView;
pub use stats::Stats;
pub use upgrades::{Upgrade, Upgrades};
