//! Engines that the configuration lists. The list never changes while the service runs.

use super::{DesiredState, DiscoveredEngine, Discovery, DiscoveryFault};
use crate::config::StaticEngine;
use async_trait::async_trait;
use berth_scheduler::engine::{Endpoint, EngineName};
use std::net::SocketAddr;
use std::sync::Arc;

/// The discovery by a list, which it returns once.
#[derive(Debug)]
pub struct StaticList(Option<Vec<DiscoveredEngine>>);

impl StaticList {
    /// The discovery for the configured engines.
    #[must_use]
    pub fn new(engines: &[StaticEngine]) -> Self {
        Self(Some(discovered_engines(engines)))
    }
}

/// Converts configured engines. Also used for the entries of a file.
pub(super) fn discovered_engines(engines: &[StaticEngine]) -> Vec<DiscoveredEngine> {
    let discovered = |engine: &StaticEngine| DiscoveredEngine {
        name: EngineName::from(engine.name.as_str()),
        endpoint: Endpoint {
            api: SocketAddr::new(engine.ip, engine.port),
            metrics: engine
                .metrics_port
                .map(|port| SocketAddr::new(engine.ip, port)),
        },
        incarnation: engine.incarnation.as_deref().map(Arc::from),
        desired_state: DesiredState::from_draining(engine.draining),
    };
    engines.iter().map(discovered).collect()
}

#[async_trait]
impl Discovery for StaticList {
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        match self.0.take() {
            Some(engines) => Ok(engines),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn returns_its_list_once() {
        let mut fixed = StaticList::new(&[StaticEngine {
            name: "a".into(),
            ip: [127, 0, 0, 1].into(),
            port: 1,
            metrics_port: Some(2),
            incarnation: None,
            draining: false,
        }]);
        let list = fixed.next().await.unwrap();
        assert_eq!(list[0].endpoint.metrics.unwrap().port(), 2);
        let second_list = tokio::time::timeout(Duration::from_secs(3600), fixed.next()).await;
        assert!(second_list.is_err());
    }
}
