//! Engines from an existing Mira: polls its `GET /v1/engines`. Reads the addresses of the engines and whether their
//! pods are terminating. Ignores Mira's view of their health, because Berth probes them itself.

use super::labels::SkippedEngines;
use super::lenient_list::parse_lenient_list;
use super::poller::{self, Poller};
use super::{DesiredState, DiscoveredEngine, Discovery, DiscoveryFault, EngineList, address_name};
use crate::config::MiraSource;
use crate::core::http_client;
use async_trait::async_trait;
use berth_scheduler::engine::Endpoint;
use serde::Deserialize;
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Size limit of a response. It contains the metrics of every engine and, in Kubernetes, the whole pod.
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The discovery by one Mira.
pub struct Mira {
    config: MiraSource,
    client: Option<reqwest::Client>,
    poller: Poller,
    skipped: SkippedEngines,
}

impl Mira {
    /// The discovery for the configured Mira.
    #[must_use]
    pub fn new(config: &MiraSource) -> Self {
        Self {
            config: config.clone(),
            client: None,
            poller: Poller::default(),
            skipped: SkippedEngines::default(),
        }
    }

    async fn fetch_engines(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        let client = poller::client(&mut self.client, || {
            http_client::client_builder().timeout(TIMEOUT)
        })?;
        let url = format!("{}/v1/engines", self.config.url.trim_end_matches('/'));
        let body = poller::get(client, &url, MAX_BYTES).await?;
        let engines = parse(&body, self.config.network.as_deref())
            .map_err(|e| DiscoveryFault::new(format!("{url}: {e}")))?;
        self.skipped.update(engines.skipped);
        Ok(engines.usable)
    }
}

#[async_trait]
impl Discovery for Mira {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    engine: EngineEntry,
    #[serde(default)]
    kubernetes: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EngineEntry {
    #[serde(default)]
    networks: Vec<Network>,
    port: u16,
    #[serde(default)]
    metrics_port: Option<u16>,
}

#[derive(Deserialize)]
struct Network {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    ip: Option<String>,
}

/// Parses the response of `GET /v1/engines`. `network` selects the network of an engine's address.
///
/// # Errors
/// When it is not a list of engines.
pub fn parse(body: &[u8], network: Option<&str>) -> Result<EngineList, serde_json::Error> {
    let (entries, left_out) = parse_lenient_list::<Entry>(body, "engines")?;
    let mut engines = EngineList {
        skipped: left_out,
        ..EngineList::default()
    };
    for (index, entry) in entries {
        let EngineEntry {
            networks,
            port,
            metrics_port,
        } = entry.engine;
        let mut fitting = networks
            .iter()
            .filter(|n| network.is_none_or(|name| n.name.as_deref() == Some(name)));
        let ip = fitting.find_map(|n| n.ip.as_deref()?.parse::<IpAddr>().ok());
        let Some(ip) = ip.filter(|_| port > 0) else {
            let reason = match network {
                _ if port == 0 => "port is 0".to_owned(),
                Some(network) => format!("no address in network {network}"),
                None => "no address".to_owned(),
            };
            engines.skipped.push(format!("engines[{index}]: {reason}"));
            continue;
        };
        let api = SocketAddr::new(ip, port);
        let deleted = entry.kubernetes.as_ref().is_some_and(is_being_deleted);
        engines.usable.push(DiscoveredEngine {
            name: address_name(api),
            endpoint: Endpoint {
                api,
                metrics: metrics_port
                    .filter(|port| *port > 0)
                    .map(|port| SocketAddr::new(ip, port)),
            },
            incarnation: None,
            desired_state: DesiredState::from_draining(deleted),
        });
    }
    // Two entries with the same address are one engine.
    engines
        .usable
        .sort_by(|a, b| (&a.name, a.desired_state).cmp(&(&b.name, b.desired_state)));
    engines.usable.dedup_by(|a, b| a.name == b.name);
    Ok(engines)
}

/// A pod with a deletion timestamp is terminating.
fn is_being_deleted(kubernetes: &Value) -> bool {
    let stamp = kubernetes.pointer("/pod/metadata/deletionTimestamp");
    stamp.is_some_and(|stamp| !stamp.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_addresses_ports_and_deletion() {
        let body = br#"[
          {"engine":{"networks":[{"name":"a"},{"name":"b","ip":"10.0.1.5"}],"port":9076,"metricsPort":9090,
            "status":"OK","health":{"saturated":false},"metrics":[],"labels":{"qix-engine":""}},
           "kubernetes":{"pod":{"metadata":{"name":"e","deletionTimestamp":"2026-01-01T00:00:00Z"}}}},
          {"engine":{"networks":[{"ip":"10.0.1.6"}],"port":19076,"status":"UNHEALTHY"},"local":{}},
          {"engine":{"networks":[],"port":9076},"swarm":{}}]"#;
        let engines = parse(body, None).unwrap();
        assert_eq!(engines.usable.len(), 2);
        let desired_states = [
            engines.usable[0].desired_state,
            engines.usable[1].desired_state,
        ];
        assert_eq!(
            desired_states,
            [DesiredState::Draining, DesiredState::Active]
        );
        assert_eq!(
            engines.usable[0].endpoint.metrics.unwrap().to_string(),
            "10.0.1.5:9090"
        );
        assert_eq!(engines.usable[1].endpoint.api.to_string(), "10.0.1.6:19076");
        assert_eq!(engines.skipped, ["engines[2]: no address"]);
        let engines = parse(body, Some("b")).unwrap();
        assert_eq!((engines.usable.len(), engines.skipped.len()), (1, 2));
    }

    #[test]
    fn foreign_responses_are_rejected() {
        for text in ["", "{}", "[{}]", "[1]", "[{\"engine\":{\"port\":\"x\"}}]"] {
            assert!(parse(text.as_bytes(), None).is_err(), "{text}");
        }
        let text =
            r#"[{"engine":{"port":"x"}},{"engine":{"networks":[{"ip":"10.0.1.6"}],"port":9076}}]"#;
        let engines = parse(text.as_bytes(), None).unwrap();
        assert_eq!(engines.usable.len(), 1);
        let skipped = &engines.skipped[0];
        assert!(
            skipped.starts_with("engines[0]: engine.port: "),
            "{skipped}"
        );
        assert_eq!(parse(b"[]", None).unwrap(), EngineList::default());
    }
}
