//! Engines in Docker: the containers of one machine or the tasks of a swarm, selected by label. Polls the Docker
//! Engine API over its socket, and reads only addresses, labels and states. The requests are written by hand, because
//! the usual client (bollard) omits the addresses of swarm tasks.

mod responses;

use super::labels::{Ports, SkippedEngines};
use super::poller::{self, Poller};
use super::{DiscoveredEngine, Discovery, DiscoveryFault};
use crate::config::{DockerMode, DockerSource};
use crate::core::http_client;
use async_trait::async_trait;
use reqwest::Url;
pub use responses::{parse_containers, parse_tasks};
use std::time::Duration;

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of a response. Thousands of containers need less.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The discovery by one Docker Engine.
pub struct Docker {
    config: DockerSource,
    client: Option<reqwest::Client>,
    poller: Poller,
    skipped: SkippedEngines,
}

/// Which containers or tasks are engines, and which of their addresses and ports count.
#[derive(Clone, Copy, Debug)]
pub struct EngineFilter<'a> {
    /// `key` or `key=value`.
    label: &'a str,
    network: Option<&'a str>,
    ports: Ports,
}

impl<'a> EngineFilter<'a> {
    /// The filter of the configuration.
    #[must_use]
    pub fn new(config: &'a DockerSource) -> Self {
        Self {
            label: &config.label,
            network: config.network.as_deref(),
            ports: Ports {
                api: config.port,
                metrics: config.metrics_port,
            },
        }
    }
}

impl Docker {
    /// The discovery for the configured Docker Engine.
    #[must_use]
    pub fn new(config: &DockerSource) -> Self {
        Self {
            config: config.clone(),
            client: None,
            poller: Poller::default(),
            skipped: SkippedEngines::default(),
        }
    }

    async fn fetch_engines(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        let socket = self.config.host.strip_prefix("unix://");
        let client = poller::client(&mut self.client, || {
            let builder = http_client::client_builder().timeout(TIMEOUT);
            match socket {
                Some(path) => builder.unix_socket(path),
                None => builder,
            }
        })?;
        // On a Unix socket the host name has no meaning.
        let base = match socket {
            Some(_) => "http://docker",
            None => self.config.host.trim_end_matches('/'),
        };
        let filter = EngineFilter::new(&self.config);
        let engines = match self.config.mode {
            DockerMode::Local => {
                let filters = serde_json::json!({"label": [filter.label], "status": ["running"]});
                let body = get(client, base, "/containers/json", &filters).await?;
                parse_containers(&body, filter)
            }
            DockerMode::Swarm => {
                let states = ["running", "shutdown", "remove"];
                let filters = serde_json::json!({"desired-state": states});
                let services = get(client, base, "/services", &serde_json::json!({})).await?;
                let running = get(client, base, "/tasks", &filters).await?;
                parse_tasks(&services, &running, filter)
            }
        };
        let engines =
            engines.map_err(|e| DiscoveryFault::new(format!("{}: {e}", self.config.host)))?;
        self.skipped.update(engines.skipped);
        Ok(engines.usable)
    }
}

async fn get(
    client: &reqwest::Client,
    base: &str,
    path: &str,
    filters: &serde_json::Value,
) -> Result<Vec<u8>, DiscoveryFault> {
    let url = Url::parse_with_params(&format!("{base}{path}"), [("filters", filters.to_string())]);
    let url = url.map_err(|e| DiscoveryFault::new(format!("{base}{path}: {e}")))?;
    poller::get(client, url.as_str(), MAX_BYTES).await
}

#[async_trait]
impl Discovery for Docker {
    async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        loop {
            self.poller.wait_until_due().await;
            let answer = self.fetch_engines().await;
            if let Some(event) = self.poller.report_change(answer, self.config.poll) {
                return event;
            }
        }
    }
}
