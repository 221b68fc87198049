//! Retries one source of engines. While a source fails, its last list stays valid, it is called again after a delay
//! that grows, and each new fault is logged once. Decides nothing about engines.

use super::metrics::DiscoveryMetrics;
use super::{DiscoveredEngine, Discovery, DiscoveryFault, MAX_ENGINES};
use crate::config::Sources;
use crate::core::backoff::ExponentialBackoff;
use futures_util::FutureExt;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{info, warn};

/// The delay before the next call of a source that fails. A source that works again is noticed after at most `max`.
const BACKOFF: ExponentialBackoff = ExponentialBackoff {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(10),
};
/// Keeps replicas from calling a source at the same time.
const JITTER: Range<f64> = 0.8..1.2;
/// The delay resets after this time without a fault. A single success does not reset it, so that a source that
/// alternates between lists and faults is still called less and less often.
const RESET_AFTER: Duration = Duration::from_secs(60);

/// One source with its retry state.
pub struct RetryingDiscovery {
    pool: String,
    /// The name of the source: its kind, with a number from the second source of the same kind on.
    source: String,
    discovery: Box<dyn Discovery>,
    metrics: DiscoveryMetrics,
    /// Faults since the delay was reset.
    faults: u32,
    failed_at: Option<Instant>,
    /// The fault that was logged last. `None` while the source works.
    last_logged: Option<DiscoveryFault>,
}

/// The result of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoveryEvent {
    /// The complete list of the source.
    List(Vec<DiscoveredEngine>),
    /// The source fails. Its last list stays valid, if there was one.
    Failed,
}

impl RetryingDiscovery {
    /// The sources of one pool, in the order of the configuration.
    #[must_use]
    pub fn for_pool(pool: &str, sources: &Sources, metrics: &DiscoveryMetrics) -> Vec<Self> {
        let mut discoveries: Vec<Self> = Vec::new();
        for (index, source) in sources.0.iter().enumerate() {
            let kind = source.as_str();
            let earlier_kinds = sources.0.iter().take(index);
            let same_kind = earlier_kinds.filter(|other| other.as_str() == kind).count();
            let name = match same_kind {
                0 => kind.to_owned(),
                _ => format!("{kind}-{}", same_kind + 1),
            };
            let discovery = super::from_config(source);
            discoveries.push(Self::new(pool, &name, discovery, metrics.clone()));
        }
        discoveries
    }

    /// Retries `discovery`, whose name in logs and metrics is `source`.
    #[must_use]
    pub fn new(
        pool: &str,
        source: &str,
        discovery: Box<dyn Discovery>,
        metrics: DiscoveryMetrics,
    ) -> Self {
        Self {
            pool: pool.to_owned(),
            source: source.to_owned(),
            discovery,
            metrics,
            faults: 0,
            failed_at: None,
            last_logged: None,
        }
    }

    /// Waits for a list, or for the first fault after a list.
    pub async fn next(&mut self) -> DiscoveryEvent {
        loop {
            let (pool, source) = (&self.pool, &self.source);
            if self.last_logged.is_some() {
                let delay = BACKOFF.jittered_delay(self.faults, JITTER, &mut rand::rng());
                tokio::time::sleep(delay).await;
            }
            match next_catching_panics(self.discovery.as_mut()).await {
                Ok(mut listed) => {
                    if listed.len() > MAX_ENGINES {
                        let engines = listed.len();
                        warn!(%pool, %source, engines, "too many engines: only the first {MAX_ENGINES} are used");
                        listed.truncate(MAX_ENGINES);
                    }
                    if self.last_logged.take().is_some() {
                        info!(%pool, %source, engines = listed.len(), "discovery works again");
                    }
                    self.metrics.record_success(pool, source);
                    return DiscoveryEvent::List(listed);
                }
                Err(fault) => {
                    self.metrics.record_failure(pool, source);
                    let last_failure = self.failed_at.replace(Instant::now());
                    if last_failure.is_none_or(|at| at.elapsed() >= RESET_AFTER) {
                        self.faults = 0;
                    }
                    self.faults = self.faults.saturating_add(1);
                    let first = self.last_logged.is_none();
                    if self.last_logged.as_ref() != Some(&fault) {
                        warn!(%pool, %source, "discovery fails, the last list stays valid: {fault}");
                    }
                    self.last_logged = Some(fault);
                    if first {
                        return DiscoveryEvent::Failed;
                    }
                }
            }
        }
    }
}

/// The next result of the discovery. A panic in it, or in a library that it uses, counts as a fault.
async fn next_catching_panics(
    discovery: &mut dyn Discovery,
) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
    let next = AssertUnwindSafe(discovery.next()).catch_unwind().await;
    next.unwrap_or_else(|_| {
        Err(DiscoveryFault::new(
            "the discovery panicked; the log has the place",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use std::collections::VecDeque;
    use tokio::time::Instant;

    struct Script(VecDeque<Result<Vec<DiscoveredEngine>, DiscoveryFault>>);

    #[async_trait]
    impl Discovery for Script {
        async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
            match self.0.pop_front() {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_reported_once_and_retried_after_growing_delays() {
        let mut registry = Registry::default();
        let metrics = DiscoveryMetrics::register(&mut registry);
        let failure = || Err(DiscoveryFault::new("down"));
        let script = [Ok(vec![]), failure(), failure(), failure(), Ok(vec![])];
        let script = Box::new(Script(script.into()));
        let mut following = RetryingDiscovery::new("main", "dns", script, metrics);
        let text = |registry: &Registry| {
            let mut text = String::new();
            encode(&mut text, registry).unwrap();
            text
        };
        assert_eq!(following.next().await, DiscoveryEvent::List(vec![]));
        assert_eq!(following.next().await, DiscoveryEvent::Failed);
        assert!(text(&registry).contains("discovery_up{pool=\"main\",source=\"dns\"} 0"));
        let before = Instant::now();
        assert_eq!(following.next().await, DiscoveryEvent::List(vec![]));
        let waited = before.elapsed();
        assert!(waited >= Duration::from_millis(2800) && waited < Duration::from_secs(5));
        let text = text(&registry);
        assert!(text.contains("discovery_up{pool=\"main\",source=\"dns\"} 1"));
        assert!(text.contains("discovery_failures_total{pool=\"main\",source=\"dns\"} 3"));
    }

    /// Panics at the first call, then returns lists.
    struct FailingSource(bool);

    #[async_trait]
    impl Discovery for FailingSource {
        async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
            assert!(std::mem::replace(&mut self.0, true), "broken");
            Ok(vec![])
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_panics_is_retried() {
        let metrics = DiscoveryMetrics::register(&mut Registry::default());
        let mut following =
            RetryingDiscovery::new("main", "docker", Box::new(FailingSource(false)), metrics);
        assert_eq!(following.next().await, DiscoveryEvent::Failed);
        assert_eq!(following.next().await, DiscoveryEvent::List(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_fails_after_each_list_is_retried_less_and_less_often() {
        let mut registry = Registry::default();
        let metrics = DiscoveryMetrics::register(&mut registry);
        let failure = || Err(DiscoveryFault::new("no watch"));
        let script = (0..40).map(|n| if n % 2 == 0 { Ok(vec![]) } else { failure() });
        let script = Box::new(Script(script.collect()));
        let mut following = RetryingDiscovery::new("main", "kubernetes", script, metrics);
        let started_at = Instant::now();
        for _ in 0..40 {
            following.next().await;
        }
        assert!(
            started_at.elapsed() > Duration::from_secs(90),
            "{:?}",
            started_at.elapsed()
        );
    }
}
