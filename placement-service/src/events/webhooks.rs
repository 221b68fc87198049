//! Tells others of events (S35): each configured webhook has a courier of its own; operators see what could not
//! be delivered and have it tried again.

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

/// Dead letters in one list.
const MAX_LISTED: u32 = 1000;

/// Why webhooks cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum WebhooksError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no HTTP client for a webhook: {0}")]
    Client(#[from] reqwest::Error),
}

/// What became of another attempt at a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// The webhook has it; it is no dead letter any more.
    Delivered,
    /// It stays one.
    Failed(String),
    NoSuchLetter,
    NoSuchWebhook,
}

/// What couriers work with.
pub struct Parts {
    pub stores: Stores,
    pub clock: Arc<dyn Clock>,
    pub tokens: Arc<Tokens>,
    pub log: LogId,
    /// Changes with every entry of the log.
    pub newest: watch::Receiver<u64>,
    pub lease: Duration,
}

/// The webhooks of the configuration.
pub struct Webhooks {
    stores: Stores,
    clock: Arc<dyn Clock>,
    metrics: WebhookMetrics,
    couriers: Vec<(Arc<Courier>, AbortHandle)>,
}

impl Webhooks {
    /// Starts a courier for each. `secrets` are those of `hooks`, in their order.
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

    /// Ends the deliveries and lets another replica go on at once.
    pub async fn end(&self) {
        for (courier, task) in &self.couriers {
            task.abort();
            courier.release().await;
        }
    }

    /// What the webhook did not take, oldest first; `None` when there is no such webhook.
    pub async fn dead_letters(&self, webhook: &str) -> Result<Option<Vec<DeadLetter>>, StoreError> {
        if self.hook(webhook).is_none() {
            return Ok(None);
        }
        let letters = self.stores.events.dead_letters(webhook, MAX_LISTED).await?;
        Ok(Some(letters))
    }

    /// Tells the webhook of a dead letter's event once more, out of its order.
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
