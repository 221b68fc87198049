//! Webhooks: starts one delivery worker per configured webhook, and lets operators list and retry dead letters. Must
//! not know how a request is built or when it is retried.

mod backoff;
pub mod caep;
mod courier;
mod hook;
mod metrics;
pub(crate) mod signature;

use crate::config::Webhook;
use crate::core::clock::Clock;
use crate::core::secret::Secret;
use crate::sessions::tokens::Tokens;
use berth_store::LogId;
use berth_store::{DeadLetter, StoreError, Stores};
use courier::{Courier, Failures, KEPT_LETTERS};
use hook::Hook;
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
pub enum Retried {
    /// The webhook accepted the event; the dead letter is removed.
    Delivered,
    /// The attempt failed; the dead letter stays, with this message.
    Failed(String),
    NoSuchLetter,
    NoSuchWebhook,
}

/// What the delivery workers need from the service.
pub struct Parts {
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
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: WebhookMetrics,
    couriers: Vec<(Arc<Courier>, AbortHandle)>,
}

impl Webhooks {
    /// Starts a delivery worker for each webhook. `secrets` has one element per element of `hooks`, in the same order.
    pub async fn start(
        hooks: &[Webhook],
        secrets: Vec<Option<Secret>>,
        parts: Parts,
        registry: &mut Registry,
    ) -> Result<Self, WebhooksError> {
        let metrics = WebhookMetrics::register(registry);
        let holder = Uuid::new_v4().to_string();
        let mut couriers = Vec::new();
        for (config, secret) in hooks.iter().zip(secrets) {
            let (tokens, clock) = (parts.tokens.clone(), parts.clock.clone());
            let hook = Hook::new(config.clone(), secret, parts.log, tokens, clock)?;
            let courier = Arc::new(Courier {
                hook: Arc::new(hook),
                stores: parts.stores.clone(),
                clock: parts.clock.clone(),
                metrics: metrics.clone(),
                newest: parts.newest.clone(),
                holder: holder.clone(),
                lease: parts.lease,
                failures: Failures::default(),
            });
            courier.begin().await?;
            let task = tokio::spawn(courier.clone().run());
            couriers.push((courier, task.abort_handle()));
        }
        Ok(Self {
            stores: parts.stores,
            clock: parts.clock,
            metrics,
            couriers,
        })
    }

    /// Stops the deliveries and releases the leases, so that another replica continues at once.
    pub async fn end(&self) {
        for (courier, task) in &self.couriers {
            task.abort();
            courier.release().await;
        }
    }

    /// The webhook's dead letters, oldest first; `None` when there is no such webhook.
    pub async fn dead_letters(&self, webhook: &str) -> Result<Option<Vec<DeadLetter>>, StoreError> {
        if self.hook(webhook).is_none() {
            return Ok(None);
        }
        let letters = self.stores.events.dead_letters(webhook, MAX_LISTED).await?;
        Ok(Some(letters))
    }

    /// Attempts once more to deliver the event of a dead letter, out of order.
    pub async fn retry(&self, webhook: &str, sequence: u64) -> Result<Retried, StoreError> {
        let Some(hook) = self.hook(webhook) else {
            return Ok(Retried::NoSuchWebhook);
        };
        let log = &self.stores.events;
        let Some(found) = log.dead_letter(webhook, sequence).await? else {
            return Ok(Retried::NoSuchLetter);
        };
        match hook.attempt(sequence, &found.event).await {
            Ok(()) => {
                self.metrics.delivery(webhook, "ok");
                log.remove_dead_letter(webhook, sequence).await?;
                Ok(Retried::Delivered)
            }
            Err(failure) => {
                self.metrics.delivery(webhook, "failed");
                let (words, now_ms) = (failure.words.clone(), self.clock.now_ms());
                let letter = courier::letter(webhook, sequence, found.event, failure, now_ms);
                log.add_dead_letter(&letter, KEPT_LETTERS).await?;
                Ok(Retried::Failed(words))
            }
        }
    }

    fn hook(&self, name: &str) -> Option<&Hook> {
        let mut hooks = self.couriers.iter().map(|(courier, _)| &*courier.hook);
        hooks.find(|hook| hook.config.name == name)
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        for (_, task) in &self.couriers {
            task.abort();
        }
    }
}
