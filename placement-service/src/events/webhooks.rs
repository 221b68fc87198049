//! Webhooks: starts one delivery worker per configured webhook, and lets operators list and retry dead letters. Must
//! not know how a request is built or when it is retried.

pub mod caep;
mod delivery_worker;
mod endpoint;
mod metrics;
pub(crate) mod signature;

use crate::config::Webhook;
use crate::core::clock::Clock;
use crate::core::secret::Secret;
use crate::sessions::tokens::Tokens;
use berth_store::{DeadLetter, LogId, StoreError, Stores};
use delivery_worker::{DeliveryWorker, FailureCount, MAX_DEAD_LETTERS};
use endpoint::Endpoint;
use metrics::WebhookMetrics;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use uuid::Uuid;

/// Maximum number of dead letters in one list.
const MAX_LISTED: u32 = 1000;

/// Why webhooks cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no HTTP client for a webhook: {0}")]
    Client(#[from] reqwest::Error),
}

/// Result of retrying a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryOutcome {
    /// The webhook accepted the event; the dead letter is removed.
    Delivered,
    /// The attempt failed; the dead letter stays, with this message.
    Failed(String),
    NoSuchLetter,
    NoSuchWebhook,
}

/// What the delivery workers need from the service.
#[derive(Clone)]
pub struct Dependencies {
    pub stores: Stores,
    pub clock: Arc<dyn Clock>,
    pub tokens: Arc<Tokens>,
    pub log: LogId,
    /// Sequence number of the newest log entry; changes with every entry.
    pub newest: watch::Receiver<u64>,
    pub lease: Duration,
}

/// The configured webhooks and their delivery workers.
pub struct Webhooks {
    dependencies: Dependencies,
    metrics: WebhookMetrics,
    /// Names this process in the leases.
    holder: String,
    workers: Vec<(Arc<DeliveryWorker>, AbortHandle)>,
}

impl Webhooks {
    /// Starts a delivery worker for each webhook. `secrets` has one element per element of `webhooks`, in the same order.
    pub async fn start(
        webhooks: &[Webhook],
        secrets: Vec<Option<Secret>>,
        dependencies: Dependencies,
        registry: &mut Registry,
    ) -> Result<Self, WebhooksError> {
        let mut started = Self {
            dependencies,
            metrics: WebhookMetrics::register(registry),
            holder: Uuid::new_v4().to_string(),
            workers: Vec::new(),
        };
        let workers = started.build_workers(webhooks, secrets).await?;
        started.run(workers);
        Ok(started)
    }

    /// Stops the deliveries, and starts those of other webhooks. On an error the present ones continue.
    pub async fn restart(
        &self,
        webhooks: &[Webhook],
        secrets: Vec<Option<Secret>>,
    ) -> Result<Self, WebhooksError> {
        let mut started = Self {
            dependencies: self.dependencies.clone(),
            metrics: self.metrics.clone(),
            holder: self.holder.clone(),
            workers: Vec::new(),
        };
        let workers = started.build_workers(webhooks, secrets).await?;
        self.stop().await;
        for (worker, _) in &self.workers {
            self.metrics.remove_lag(&worker.endpoint.config.name);
        }
        started.run(workers);
        Ok(started)
    }

    async fn build_workers(
        &self,
        webhooks: &[Webhook],
        secrets: Vec<Option<Secret>>,
    ) -> Result<Vec<Arc<DeliveryWorker>>, WebhooksError> {
        let Dependencies { tokens, clock, .. } = &self.dependencies;
        let mut workers = Vec::new();
        for (config, secret) in webhooks.iter().zip(secrets) {
            self.metrics.start(&config.name);
            let (tokens, log) = (tokens.clone(), self.dependencies.log);
            let endpoint = Endpoint::new(config.clone(), secret, log, tokens, clock.clone())?;
            let worker = DeliveryWorker {
                endpoint: Arc::new(endpoint),
                stores: self.dependencies.stores.clone(),
                clock: clock.clone(),
                metrics: self.metrics.clone(),
                newest: self.dependencies.newest.clone(),
                holder: self.holder.clone(),
                lease: self.dependencies.lease,
                failures: FailureCount::default(),
            };
            worker.init_position().await?;
            workers.push(Arc::new(worker));
        }
        Ok(workers)
    }

    fn run(&mut self, workers: Vec<Arc<DeliveryWorker>>) {
        let started = workers.into_iter().map(|worker| {
            let task = tokio::spawn(worker.clone().run());
            (worker, task.abort_handle())
        });
        self.workers = started.collect();
    }

    /// Stops the deliveries and releases the leases, so that another replica continues at once.
    pub async fn stop(&self) {
        for (worker, task) in &self.workers {
            task.abort();
            worker.release().await;
        }
    }

    /// The webhook's dead letters, oldest first; `None` when there is no such webhook.
    pub async fn dead_letters(&self, webhook: &str) -> Result<Option<Vec<DeadLetter>>, StoreError> {
        if self.endpoint(webhook).is_none() {
            return Ok(None);
        }
        let dead_letters = self
            .dependencies
            .stores
            .events
            .dead_letters(webhook, MAX_LISTED)
            .await?;
        Ok(Some(dead_letters))
    }

    /// Attempts once more to deliver the event of a dead letter, out of order.
    pub async fn retry(&self, webhook: &str, sequence: u64) -> Result<RetryOutcome, StoreError> {
        let Some(endpoint) = self.endpoint(webhook) else {
            return Ok(RetryOutcome::NoSuchWebhook);
        };
        let log = &self.dependencies.stores.events;
        let Some(dead_letter) = log.dead_letter(webhook, sequence).await? else {
            return Ok(RetryOutcome::NoSuchLetter);
        };
        match endpoint.attempt(sequence, &dead_letter.event).await {
            Ok(()) => {
                self.metrics.count_delivery(webhook, "ok");
                log.remove_dead_letter(webhook, sequence).await?;
                Ok(RetryOutcome::Delivered)
            }
            Err(failure) => {
                self.metrics.count_delivery(webhook, "failed");
                let (message, now_ms) = (failure.message.clone(), self.dependencies.clock.now_ms());
                let updated = delivery_worker::dead_letter(
                    webhook,
                    sequence,
                    dead_letter.event,
                    failure,
                    now_ms,
                );
                log.add_dead_letter(&updated, MAX_DEAD_LETTERS).await?;
                Ok(RetryOutcome::Failed(message))
            }
        }
    }

    fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        let mut endpoints = self.workers.iter().map(|(worker, _)| &*worker.endpoint);
        endpoints.find(|endpoint| endpoint.config.name == name)
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        for (_, task) in &self.workers {
            task.abort();
        }
    }
}
