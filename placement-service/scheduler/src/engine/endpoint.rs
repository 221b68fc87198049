//! The name and the addresses of an engine.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// An engine's name: unique within its pool, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineName(Arc<str>);

impl EngineName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for EngineName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an engine listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// WebSockets and the healthcheck.
    pub api: SocketAddr,
    /// Prometheus metrics, if it has any.
    pub metrics: Option<SocketAddr>,
}
