//! Probes one engine once. The driver of the pool decides which requests a probe consists of. What a series of results
//! means is decided in `engines::fleet::health_state`.

pub mod healthcheck;
mod http;
pub mod mapping;
pub mod metrics_text;

use crate::config::{Driver, MetricsMapping, Pool};
use berth_api::Excerpt;
use berth_scheduler::engine::{Endpoint, Load};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The result of a probe to which the engine responded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The load; `None` when the engine is up but returned no numbers.
    pub load: Option<Load>,
    /// Why the load is missing or incomplete although the engine is up.
    pub metrics_fault: Option<ProbeFault>,
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
    /// `GET /healthcheck` and `GET /metrics`.
    Qix(reqwest::Client, Duration),
    /// A TCP connection, which shows that the port is open and returns no load.
    Tcp(Duration),
    /// A TCP connection, which shows that the port is open, and metrics for the load.
    Metrics(reqwest::Client, Arc<MetricsMapping>, Duration),
}

impl Prober {
    /// The prober of a pool. `limit` is the time limit of each request.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(pool: &Pool, limit: Duration) -> Result<Self, reqwest::Error> {
        let metrics = pool.probe.as_ref().and_then(|probe| probe.metrics.clone());
        Ok(match (pool.driver, metrics) {
            (Driver::Qix, _) => Self::Qix(http::client(limit)?, limit),
            (Driver::Websocket, None) => Self::Tcp(limit),
            (Driver::Websocket, Some(metrics)) => {
                Self::Metrics(http::client(limit)?, Arc::new(metrics), limit)
            }
        })
    }

    /// Probes an engine once.
    ///
    /// # Errors
    /// When the engine does not respond, or not as a healthy engine does.
    pub async fn probe(&self, endpoint: &Endpoint) -> Result<Reading, ProbeFault> {
        match self {
            Self::Qix(client, limit) => {
                let health = http::get(client, endpoint.api, "/healthcheck", *limit);
                let metrics = async {
                    match endpoint.metrics {
                        Some(address) => Some(http::get(client, address, "/metrics", *limit).await),
                        None => None,
                    }
                };
                let (health, metrics) = tokio::join!(health, metrics);
                parse_qix(&health?, metrics)
            }
            Self::Tcp(limit) => check_connect(endpoint, *limit).await.map(|()| Reading {
                load: Some(Load::default()),
                metrics_fault: None,
            }),
            Self::Metrics(client, mapping, limit) => {
                let address = endpoint.metrics.unwrap_or(endpoint.api);
                let metrics = http::get(client, address, &mapping.path, *limit);
                let (connect, metrics) = tokio::join!(check_connect(endpoint, *limit), metrics);
                connect?;
                Ok(match metrics {
                    Ok(text) => mapping::read_load(mapping, &text),
                    Err(fault) => Reading {
                        load: None,
                        metrics_fault: Some(fault),
                    },
                })
            }
        }
    }
}

/// Succeeds when the API port of the engine accepts a connection.
async fn check_connect(endpoint: &Endpoint, limit: Duration) -> Result<(), ProbeFault> {
    match timeout(limit, TcpStream::connect(endpoint.api)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(ProbeFault::Connect(e.to_string())),
        Err(_) => Err(ProbeFault::Timeout(limit)),
    }
}

fn parse_qix(
    health: &[u8],
    metrics: Option<Result<Vec<u8>, ProbeFault>>,
) -> Result<Reading, ProbeFault> {
    let parsed = healthcheck::parse(health);
    let (mut load, malformed) = parsed.map_err(|e| ProbeFault::Malformed(e.to_string()))?;
    let malformed = (!malformed.is_empty()).then(|| {
        let fields = malformed.join(", ");
        ProbeFault::Malformed(format!("the healthcheck has a malformed {fields}"))
    });
    let active = metrics.map(|text| {
        metrics_text::sum_gauge(&text?, "qix_active_sessions")
            .ok_or_else(|| ProbeFault::Malformed("the metrics lack qix_active_sessions".into()))
    });
    let metrics_fault = match active {
        Some(Ok(sessions)) => {
            // Prometheus text has only floats. The cast saturates, so that a negative gauge counts as 0.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let sessions = sessions as u32;
            load.sessions = Some(sessions);
            malformed
        }
        Some(Err(fault)) => Some(fault),
        None => malformed,
    };
    Ok(Reading {
        load: Some(load),
        metrics_fault,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTH: &[u8] = br#"{"mem":{"committed":1,"free":3},"session":{"active":2,"total":9}}"#;

    #[test]
    fn the_session_count_of_the_metrics_takes_precedence() {
        let metrics = b"qix_active_sessions 5\n".to_vec();
        let reading = parse_qix(HEALTH, Some(Ok(metrics))).unwrap();
        assert_eq!(reading.load.unwrap().sessions, Some(5));
        assert_eq!(reading.metrics_fault, None);
    }

    #[test]
    fn without_metrics_the_session_count_of_the_healthcheck_applies() {
        for metrics in [Err(ProbeFault::Status(404)), Ok(b"something 1\n".to_vec())] {
            let reading = parse_qix(HEALTH, Some(metrics)).unwrap();
            assert_eq!(reading.load.unwrap().sessions, Some(2));
            assert!(reading.metrics_fault.is_some());
        }
        assert_eq!(parse_qix(HEALTH, None).unwrap().metrics_fault, None);
        let reading = parse_qix(br#"{"mem":"lots","session":{"active":2}}"#, None).unwrap();
        let fault = reading.metrics_fault.unwrap().to_string();
        assert!(fault.ends_with("malformed mem"), "{fault}");
    }

    #[test]
    fn metrics_without_a_healthcheck_are_a_fault() {
        let metrics = b"qix_active_sessions 5\n".to_vec();
        let fault = parse_qix(b"<html>", Some(Ok(metrics))).unwrap_err();
        assert_eq!(fault.as_str(), "malformed");
    }
}
