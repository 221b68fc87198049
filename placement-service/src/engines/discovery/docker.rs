//! Engines in Docker: the containers of one machine or the tasks of a swarm, selected by label. Polls the Docker
//! Engine API over its socket, and reads only addresses, labels and states. The requests are written by hand, because
//! the usual client (bollard) omits the addresses of swarm tasks.

mod answers;

use super::marks::{LeftOut, Ports};
use super::polled::{self, Polled};
use super::{Discovery, DiscoveryFault, Found};
use crate::config::{DockerMode, DockerSource};
use crate::core::http_client;
pub use answers::{Engines, containers, tasks};
use async_trait::async_trait;
use reqwest::Url;
use std::time::Duration;

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Size limit of a response. Thousands of containers need less.
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// The discovery by one Docker Engine.
pub struct Docker {
    config: DockerSource,
    client: Option<reqwest::Client>,
    polled: Polled,
    left_out: LeftOut,
}

/// Which containers or tasks are engines, and which of their addresses and ports count.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// `key` or `key=value`.
    label: &'a str,
    network: Option<&'a str>,
    ports: Ports,
}

impl<'a> Wanted<'a> {
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
            polled: Polled::default(),
            left_out: LeftOut::default(),
        }
    }

    async fn ask(&mut self) -> Result<Vec<Found>, DiscoveryFault> {
        let socket = self.config.host.strip_prefix("unix://");
        let client = polled::client(&mut self.client, || {
            let builder = http_client::client().timeout(TIMEOUT);
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
        let wanted = Wanted::new(&self.config);
        let engines = match self.config.mode {
            DockerMode::Local => {
                let filters = serde_json::json!({"label": [wanted.label], "status": ["running"]});
                let body = get(client, base, "/containers/json", &filters).await?;
                containers(&body, wanted)
            }
            DockerMode::Swarm => {
                let states = ["running", "shutdown", "remove"];
                let filters = serde_json::json!({"desired-state": states});
                let services = get(client, base, "/services", &serde_json::json!({})).await?;
                let running = get(client, base, "/tasks", &filters).await?;
                tasks(&services, &running, wanted)
            }
        };
        let engines =
            engines.map_err(|e| DiscoveryFault::new(format!("{}: {e}", self.config.host)))?;
        self.left_out.are(engines.left_out);
        Ok(engines.found)
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
    polled::get(client, url.as_str(), MAX_BYTES).await
}

#[async_trait]
impl Discovery for Docker {
    async fn next(&mut self) -> Result<Vec<Found>, DiscoveryFault> {
        loop {
            self.polled.due().await;
            let answer = self.ask().await;
            if let Some(news) = self.polled.news(answer, self.config.poll) {
                return news;
            }
        }
    }
}
