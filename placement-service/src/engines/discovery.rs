//! Where a pool's engines come from. A discovery tells the whole list, again whenever it changes; the
//! fleet's writer compares. One kind of source per file; `following` knows what to do when one fails.

pub mod dns;
pub mod docker;
mod entries;
pub mod file;
pub mod following;
pub mod kubernetes;
mod marks;
pub mod merge;
pub mod metrics;
pub mod mira;
mod polled;
pub mod static_list;

use crate::config;
use async_trait::async_trait;
use berth_api::Excerpt;
use berth_scheduler::engine::{Endpoint, EngineName};
use std::net::SocketAddr;

/// Engines of one source at most: each costs a task, a connection per probe and its books.
const MAX_ENGINES: usize = 20_000;

/// An engine that a discovery knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Unique within its source, and the same as long as the engine is the same.
    pub name: EngineName,
    /// Where it listens.
    pub endpoint: Endpoint,
    pub wish: Wish,
}

/// What its source wants of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is for use.
    InUse,
    /// Nothing new; its sockets stay, as it may be for use again soon.
    NothingNew,
    /// It goes: nothing new, and its sockets are closed, spread over a time.
    Drained,
}

impl Wish {
    /// Of a source that knows nothing between the two.
    #[must_use]
    pub const fn drained_if(draining: bool) -> Self {
        if draining { Self::Drained } else { Self::InUse }
    }
}

/// Why a source has no list to give. The text names what it asked and what was wrong, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Excerpt(.0))]
pub struct DiscoveryFault(String);

impl DiscoveryFault {
    /// A fault in the words of its source.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Tells which engines a pool has.
#[async_trait]
pub trait Discovery: Send + 'static {
    /// Waits for news, then gives the whole list. The first call returns as soon as the list is
    /// known. May be called again after a fault, as often as one likes; the caller waits in between.
    ///
    /// # Errors
    /// When the list cannot be known just now. The last one holds until another comes.
    async fn next(&mut self) -> Result<Vec<Found>, DiscoveryFault>;
}

/// The discovery that a source of a pool's configuration asks for.
#[must_use]
pub fn from_config(config: &config::Discovery) -> Box<dyn Discovery> {
    match config {
        config::Discovery::Static(engines) => Box::new(static_list::StaticList::new(engines)),
        config::Discovery::File(file) => Box::new(file::File::new(file)),
        config::Discovery::Dns(dns) => Box::new(dns::Dns::new(dns)),
        config::Discovery::Kubernetes(pods) => Box::new(kubernetes::Kubernetes::new(pods)),
        config::Discovery::Docker(docker) => Box::new(docker::Docker::new(docker)),
        config::Discovery::Mira(mira) => Box::new(mira::Mira::new(mira)),
    }
}

/// The name of an engine that has none: its address, in letters that a name may have.
fn address_name(at: SocketAddr) -> EngineName {
    let ip = at.ip().to_string().replace([':', '%'], "-");
    EngineName::from(format!("{ip}-{}", at.port()).as_str())
}
