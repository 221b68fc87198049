//! Asks one engine how it is doing, once: what to ask follows from the pool's driver. What the answer
//! means over time is decided in `engines::fleet::health`.

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

/// What an engine answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Its numbers; `None` when it is up but gave none this time.
    pub load: Option<Load>,
    /// What was wrong with its numbers, though it is up.
    pub metrics_fault: Option<ProbeFault>,
}

/// Why an engine gave no reading. The variant is the constant; the text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProbeFault {
    /// No connection, or it broke.
    #[error("no connection: {}", Excerpt(.0))]
    Connect(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Another status than 200.
    #[error("answered with status {0}")]
    Status(u16),
    /// More bytes than such an answer has.
    #[error("answered with more than {0} bytes")]
    TooLong(usize),
    /// Not what an engine answers.
    #[error("answered something else than an engine: {}", Excerpt(.0))]
    Garbage(String),
}

impl ProbeFault {
    /// What [`Self::as_str`] may give.
    pub const KINDS: [&str; 5] = ["connect", "timeout", "status", "too-long", "garbage"];

    /// The constant for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLong(_) => "too-long",
            Self::Garbage(_) => "garbage",
        }
    }
}

/// How the engines of a pool are asked.
#[derive(Clone, Debug)]
pub enum Prober {
    /// `GET /healthcheck` and `GET /metrics`.
    Qix(reqwest::Client, Duration),
    /// A TCP connection tells that somebody listens, and no numbers.
    Tcp(Duration),
    /// A TCP connection tells that somebody listens, and metrics give the numbers.
    Mapped(reqwest::Client, Arc<MetricsMapping>, Duration),
}

impl Prober {
    /// The prober that goes with a pool. Each request may take `limit`.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(pool: &Pool, limit: Duration) -> Result<Self, reqwest::Error> {
        Ok(match (pool.driver, &pool.probe) {
            (Driver::Qix, _) => Self::Qix(http::client(limit)?, limit),
            (Driver::Websocket, None) => Self::Tcp(limit),
            (Driver::Websocket, Some(probe)) => {
                Self::Mapped(http::client(limit)?, Arc::new(probe.metrics.clone()), limit)
            }
        })
    }

    /// Asks once.
    ///
    /// # Errors
    /// When the engine does not answer, or not as a healthy engine does.
    pub async fn probe(&self, endpoint: &Endpoint) -> Result<Reading, ProbeFault> {
        match self {
            Self::Qix(client, limit) => {
                let health = http::get(client, endpoint.api, "/healthcheck", *limit);
                let metrics = async {
                    match endpoint.metrics {
                        Some(at) => Some(http::get(client, at, "/metrics", *limit).await),
                        None => None,
                    }
                };
                let (health, metrics) = tokio::join!(health, metrics);
                reading(&health?, metrics)
            }
            Self::Tcp(limit) => connects(endpoint, *limit).await.map(|()| Reading {
                load: Some(Load::default()),
                metrics_fault: None,
            }),
            Self::Mapped(client, mapping, limit) => {
                let at = endpoint.metrics.unwrap_or(endpoint.api);
                let metrics = http::get(client, at, &mapping.path, *limit);
                let (up, metrics) = tokio::join!(connects(endpoint, *limit), metrics);
                up?;
                Ok(match metrics {
                    Ok(text) => mapping::read(mapping, &text),
                    Err(fault) => Reading {
                        load: None,
                        metrics_fault: Some(fault),
                    },
                })
            }
        }
    }
}

/// Whether somebody listens at the engine's API port.
async fn connects(endpoint: &Endpoint, limit: Duration) -> Result<(), ProbeFault> {
    match timeout(limit, TcpStream::connect(endpoint.api)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(ProbeFault::Connect(e.to_string())),
        Err(_) => Err(ProbeFault::Timeout(limit)),
    }
}

fn reading(
    health: &[u8],
    metrics: Option<Result<Vec<u8>, ProbeFault>>,
) -> Result<Reading, ProbeFault> {
    let parsed = healthcheck::parse(health);
    let (mut load, malformed) = parsed.map_err(|e| ProbeFault::Garbage(e.to_string()))?;
    let malformed = (!malformed.is_empty()).then(|| {
        let fields = malformed.join(", ");
        ProbeFault::Garbage(format!("a healthcheck with a malformed {fields}"))
    });
    let active = metrics.map(|text| {
        metrics_text::gauge(&text?, "qix_active_sessions")
            .ok_or_else(|| ProbeFault::Garbage("metrics without qix_active_sessions".into()))
    });
    let metrics_fault = match active {
        Some(Ok(sessions)) => {
            // A float in the format; saturates, and a gauge below zero is no session.
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
    fn the_metrics_session_count_wins() {
        let metrics = b"qix_active_sessions 5\n".to_vec();
        let reading = reading(HEALTH, Some(Ok(metrics))).unwrap();
        assert_eq!(reading.load.unwrap().sessions, Some(5));
        assert_eq!(reading.metrics_fault, None);
    }

    #[test]
    fn without_metrics_the_healthcheck_has_to_do() {
        for metrics in [Err(ProbeFault::Status(404)), Ok(b"something 1\n".to_vec())] {
            let reading = reading(HEALTH, Some(metrics)).unwrap();
            assert_eq!(reading.load.unwrap().sessions, Some(2));
            assert!(reading.metrics_fault.is_some());
        }
        assert_eq!(reading(HEALTH, None).unwrap().metrics_fault, None);
        let reading = reading(br#"{"mem":"lots","session":{"active":2}}"#, None).unwrap();
        let fault = reading.metrics_fault.unwrap().to_string();
        assert!(fault.ends_with("malformed mem"), "{fault}");
    }

    #[test]
    fn without_a_healthcheck_metrics_do_not_help() {
        let metrics = b"qix_active_sessions 5\n".to_vec();
        let fault = reading(b"<html>", Some(Ok(metrics))).unwrap_err();
        assert_eq!(fault.as_str(), "garbage");
    }
}
