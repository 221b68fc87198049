//! Probes one engine once. The driver of the pool decides which requests a probe consists of. What a series of results
//! means is decided in `engines::fleet::health_state`.

pub mod cpu_unit;
pub mod healthcheck;
mod http;
pub mod mapping;
pub mod metrics_families;
pub mod metrics_text;
pub mod tolerant_json;

use crate::config::{Driver, MetricsMapping, Pool};
use crate::engines::drivers::transport::EngineTransport;
use berth_api::Excerpt;
use berth_scheduler::engine::{Endpoint, Load};
use cpu_unit::CpuUnit;
use http::EngineClient;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The result of a probe to which the engine responded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The load; `None` when the engine is up but returned no numbers.
    pub load: Option<Load>,
    /// Why the load is missing or incomplete although the engine is up.
    pub metrics_fault: Option<ProbeFault>,
    /// The full content of the probe, for readers that need more than the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<EngineReport>,
}

/// The full content of one probe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineReport {
    /// Its healthcheck; `None` when that is not a JSON object.
    pub health: Option<Value>,
    /// The families of its metrics; `None` when there are no metrics.
    pub metrics: Option<Vec<metrics_families::MetricFamily>>,
}

/// Why a probe failed. The variant is the label of metrics, the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProbeFault {
    /// The connection failed or was closed.
    #[error("no connection: {}", Excerpt(.0))]
    Connect(String),
    /// No response in time.
    #[error("no response within {0:?}")]
    Timeout(Duration),
    /// A status other than 200.
    #[error("the response has status {0}")]
    Status(u16),
    /// The response exceeds the size limit.
    #[error("the response has more than {0} bytes")]
    TooLong(usize),
    /// The response is not that of an engine.
    #[error("not the response of an engine: {}", Excerpt(.0))]
    Malformed(String),
}

impl ProbeFault {
    /// All values of [`Self::as_str`].
    pub const KINDS: [&str; 5] = ["connect", "timeout", "status", "too-long", "malformed"];

    /// The label for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLong(_) => "too-long",
            Self::Malformed(_) => "malformed",
        }
    }
}

/// How the engines of a pool are probed.
#[derive(Clone, Debug)]
pub enum Prober {
    /// `GET /healthcheck` and `GET /metrics`; and whether they are wanted in full.
    Qix(EngineClient, Duration, bool),
    /// A connection, which shows that the port is open and returns no load.
    Connect(EngineTransport, Duration),
    /// A connection, which shows that the port is open, and metrics for the load.
    Metrics(EngineTransport, EngineClient, Arc<MetricsMapping>, Duration),
}

impl Prober {
    /// The prober of a pool. `limit` is the time limit of each request, `in_full` whether readings contain everything
    /// that a QIX engine says.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(
        pool: &Pool,
        transport: &EngineTransport,
        limit: Duration,
        in_full: bool,
    ) -> Result<Self, reqwest::Error> {
        let metrics = pool.probe.as_ref().and_then(|probe| probe.metrics.clone());
        let client = || EngineClient::new(transport, limit);
        Ok(match (pool.driver, metrics) {
            (Driver::Qix, _) => Self::Qix(client()?, limit, in_full),
            (Driver::Websocket, None) => Self::Connect(transport.clone(), limit),
            (Driver::Websocket, Some(metrics)) => {
                Self::Metrics(transport.clone(), client()?, Arc::new(metrics), limit)
            }
        })
    }

    /// Probes an engine once. `cpu_unit`: what its earlier probes say of its CPU.
    ///
    /// # Errors
    /// When the engine does not respond, or not as a healthy engine does.
    pub async fn probe(
        &self,
        endpoint: &Endpoint,
        cpu_unit: &mut CpuUnit,
    ) -> Result<Reading, ProbeFault> {
        match self {
            Self::Qix(client, limit, in_full) => {
                let health = client.get_from_engine(endpoint.api, "/healthcheck", *limit);
                let metrics = async {
                    match endpoint.metrics {
                        Some(address) => Some(
                            client
                                .get_metrics(endpoint, address, "/metrics", *limit)
                                .await,
                        ),
                        None => None,
                    }
                };
                let (health, metrics) = tokio::join!(health, metrics);
                Ok(read_qix(&health?, metrics, *in_full, cpu_unit))
            }
            Self::Connect(transport, limit) => {
                let connected = check_connect(transport, endpoint, *limit).await;
                connected.map(|()| Reading {
                    load: Some(Load::default()),
                    metrics_fault: None,
                    report: None,
                })
            }
            Self::Metrics(transport, client, mapping, limit) => {
                let address = endpoint.metrics.unwrap_or(endpoint.api);
                let metrics = client.get_metrics(endpoint, address, &mapping.path, *limit);
                let connect = check_connect(transport, endpoint, *limit);
                let (connect, metrics) = tokio::join!(connect, metrics);
                connect?;
                Ok(match metrics {
                    Ok(text) => mapping::read_load(mapping, &text),
                    Err(fault) => Reading {
                        load: None,
                        metrics_fault: Some(fault),
                        report: None,
                    },
                })
            }
        }
    }
}

/// Succeeds when the API port of the engine accepts a connection, with TLS if the pool has it.
async fn check_connect(
    transport: &EngineTransport,
    endpoint: &Endpoint,
    limit: Duration,
) -> Result<(), ProbeFault> {
    match timeout(limit, transport.connect(endpoint.api)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(ProbeFault::Connect(e.to_string())),
        Err(_) => Err(ProbeFault::Timeout(limit)),
    }
}

fn read_qix(
    health: &[u8],
    metrics: Option<Result<Vec<u8>, ProbeFault>>,
    in_full: bool,
    cpu_unit: &mut CpuUnit,
) -> Reading {
    let parsed = tolerant_json::parse(health);
    let health = parsed.as_ref().ok().filter(|value| value.is_object());
    let report = in_full.then(|| EngineReport {
        health: health.cloned(),
        metrics: match &metrics {
            Some(Ok(text)) => Some(metrics_families::parse(text)),
            _ => None,
        },
    });
    let read = health.and_then(|health| healthcheck::read(health.clone(), cpu_unit));
    let health_fault = match (&read, &parsed) {
        // Such as `{}`, from another kind of server.
        (Some((load, malformed)), _) if malformed.is_empty() && *load == Load::default() => {
            Some("the healthcheck has no numbers".to_owned())
        }
        (Some((_, malformed)), _) if malformed.is_empty() => None,
        (Some((_, malformed)), _) => Some(format!(
            "the healthcheck has a malformed {}",
            malformed.join(", ")
        )),
        (None, Ok(_)) => Some("the healthcheck is not a JSON object".to_owned()),
        (None, Err(error)) => Some(format!("the healthcheck is not JSON: {error}")),
    };
    let health_fault = health_fault.map(ProbeFault::Malformed);
    let mut load = read.map(|(load, _)| load);
    let active = metrics.map(|text| {
        metrics_text::sum_gauge(&text?, "qix_active_sessions")
            .ok_or_else(|| ProbeFault::Malformed("the metrics lack qix_active_sessions".into()))
    });
    let metrics_fault = match active {
        Some(Ok(sessions)) => {
            // Prometheus text has only floats. The cast saturates, so that a negative gauge counts as 0.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let sessions = sessions as u32;
            load.get_or_insert_default().sessions = Some(sessions);
            health_fault
        }
        Some(Err(fault)) => Some(health_fault.unwrap_or(fault)),
        None => health_fault,
    };
    Reading {
        load: load.filter(|load| *load != Load::default()),
        metrics_fault,
        report,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: &[u8] = br#"{"mem":{"committed":1,"free":3},"session":{"active":2,"total":9}}"#;

    fn read(health: &[u8], metrics: Option<Result<Vec<u8>, ProbeFault>>) -> Reading {
        read_qix(health, metrics, false, &mut CpuUnit::default())
    }

    #[test]
    fn the_session_count_of_the_metrics_takes_precedence() {
        let metrics = b"qix_active_sessions 5\n".to_vec();
        let reading = read(HEALTH, Some(Ok(metrics)));
        assert_eq!(reading.load.unwrap().sessions, Some(5));
        assert_eq!(reading.metrics_fault, None);
    }

    #[test]
    fn without_metrics_the_session_count_of_the_healthcheck_applies() {
        for metrics in [Err(ProbeFault::Status(404)), Ok(b"something 1\n".to_vec())] {
            let reading = read(HEALTH, Some(metrics));
            assert_eq!(reading.load.unwrap().sessions, Some(2));
            assert!(reading.metrics_fault.is_some());
        }
        assert_eq!(read(HEALTH, None).metrics_fault, None);
        let reading = read(br#"{"mem":"lots","session":{"active":2}}"#, None);
        let fault = reading.metrics_fault.unwrap().to_string();
        assert!(fault.ends_with("malformed mem"), "{fault}");
    }

    #[test]
    fn a_healthcheck_that_cannot_be_read_costs_only_its_numbers() {
        let metrics = b"qix_active_sessions 5\n".to_vec();
        let reading = read(b"<html>", Some(Ok(metrics)));
        assert_eq!(reading.load.unwrap().sessions, Some(5));
        assert_eq!(reading.metrics_fault.unwrap().as_str(), "malformed");
        for health in [&b"<html>"[..], b"{}", b"[]", br#"{"status":"up"}"#] {
            let reading = read(health, None);
            assert_eq!(reading.load, None);
            assert_eq!(reading.metrics_fault.unwrap().as_str(), "malformed");
        }
    }

    #[test]
    fn a_reading_in_full_has_every_field_and_every_family() {
        let metrics = b"# TYPE a gauge\na 1\nqix_active_sessions 5\n".to_vec();
        let reading = read_qix(HEALTH, Some(Ok(metrics)), true, &mut CpuUnit::default());
        let report = reading.report.unwrap();
        assert_eq!(report.health.unwrap()["session"]["total"], 9);
        assert_eq!(report.metrics.unwrap().len(), 2);
    }
}
