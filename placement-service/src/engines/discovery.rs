//! Where the engines of a pool come from. A discovery returns the complete list, and returns it again after each
//! change; the fleet controller compares the lists. Each kind of source has one file, `retrying` handles their
//! failures. Must not know the health or the load of an engine.

pub mod dns;
pub mod docker;
pub mod file;
pub mod kubernetes;
mod labels;
mod lenient_list;
pub mod merge;
pub mod metrics;
pub mod mira;
mod poller;
pub mod retrying;
pub mod static_list;

use crate::config;
use async_trait::async_trait;
use berth_api::Excerpt;
use berth_scheduler::engine::{Endpoint, EngineName};
use std::net::SocketAddr;
use std::sync::Arc;

/// Maximum number of engines of one source. Each engine costs a task, a connection per probe and its accounting.
const MAX_ENGINES: usize = 20_000;

/// An engine in the list of a discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredEngine {
    /// Unique within its source. Constant as long as the engine is the same.
    pub name: EngineName,
    /// Where the engine listens.
    pub endpoint: Endpoint,
    /// Distinguishes the engine from its successor of the same name at the same address; `None` if the source does not.
    pub incarnation: Option<Arc<str>>,
    pub desired_state: DesiredState,
}

/// The engines in a response of a source.
#[derive(Debug, Default, PartialEq)]
pub struct EngineList {
    /// Engines with an endpoint.
    pub usable: Vec<DiscoveredEngine>,
    /// Why the other engines are skipped, one text for each.
    pub skipped: Vec<String>,
}

/// The state that the source of an engine requires.
///
/// Of several engines at one address in one source, the first in this order is the one that listens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DesiredState {
    /// The engine accepts new sessions.
    Active,
    /// No new sessions. Open sockets stay, because the engine may become active again soon.
    Cordoned,
    /// The engine is about to end. No new sessions, and its sockets are closed one after the other over a period.
    Draining,
}

impl DesiredState {
    /// For a source that knows no state between active and draining.
    #[must_use]
    pub const fn from_draining(draining: bool) -> Self {
        if draining {
            Self::Draining
        } else {
            Self::Active
        }
    }
}

/// Why a source returns no list. The text names the request and the error, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Excerpt(.0))]
pub struct DiscoveryFault(String);

impl DiscoveryFault {
    /// A fault with a message about the source.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// A source of the engines of a pool.
#[async_trait]
pub trait Discovery: Send + 'static {
    /// Waits for a change, then returns the complete list. The first call returns as soon as the list is
    /// available. After a fault the caller may call again any number of times, and waits between the calls.
    ///
    /// # Errors
    /// When the list is not available. The previous list stays valid until the next one.
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault>;
}

/// Creates the discovery for one configured source.
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

/// The name of an engine whose source has no names: its address, with the characters that a name must not contain
/// replaced.
fn address_name(address: SocketAddr) -> EngineName {
    let ip = address.ip().to_string().replace([':', '%'], "-");
    EngineName::from(format!("{ip}-{}", address.port()).as_str())
}
