//! Where a pool's engines come from. A discovery tells the whole list, again whenever it changes; the
//! fleet's writer compares. One orchestrator per file.

pub mod fixed;

use crate::config;
use crate::engine::{Endpoint, EngineName};
use async_trait::async_trait;

/// An engine that a discovery knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Unique within the pool.
    pub name: EngineName,
    /// Where it listens.
    pub endpoint: Endpoint,
}

/// Tells which engines a pool has.
#[async_trait]
pub trait Discovery: Send + 'static {
    /// Waits for news, then gives the whole list. The first call returns as soon as the list is
    /// known. Retries and back-off are its own; it never gives up.
    async fn next(&mut self) -> Vec<Found>;
}

/// The discovery that a pool's configuration asks for.
#[must_use]
pub fn from_config(config: &config::Discovery) -> Box<dyn Discovery> {
    match config {
        config::Discovery::Fixed(engines) => Box::new(fixed::Fixed::new(engines)),
    }
}
