//! Requests of operators that every replica must answer, since each knows only the gateways that report to it: a list of
//! open streams, and the close of one. A request is a text in the store; each replica puts its answer beside it. A
//! service without other replicas writes nothing.

use super::registry::{ReplicaPage, StreamQuery};
use crate::core::clock::Clock;
use berth_store::{Coordination, StoreError};
use rand::RngExt;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const REQUEST_PREFIX: &str = "gateway-requests/";
/// The key of an answer is this prefix, the id of the request, a slash, and the name of the replica.
const ANSWER_PREFIX: &str = "gateway-answers/";
/// How long the other replicas have to answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often the answers are read meanwhile.
const READ_INTERVAL: Duration = Duration::from_millis(100);
/// A request that is older is not answered, and is removed.
const OUTDATED_MS: u64 = 10_000;
/// Maximum number of requests of one replica at once; further ones wait.
const MAX_REQUESTS: usize = 4;

/// What a replica is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ReplicaRequest {
    List(StreamQuery),
    Close(String),
}

/// The answer to the request of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ReplicaAnswer {
    Page(ReplicaPage),
    /// Whether the stream is open at one of its gateways.
    Closed(bool),
}

#[derive(Serialize, Deserialize)]
struct Message<T> {
    /// Milliseconds since the Unix epoch.
    at_ms: u64,
    /// The replica that sent it.
    from: String,
    content: T,
}

/// The answers of other replicas, and whether all of them have answered.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) answers: Vec<ReplicaAnswer>,
    pub(super) complete: bool,
}

/// The requests of this replica, and its answers to those of others.
pub(super) struct ReplicaRequests {
    store: Arc<dyn Coordination>,
    clock: Arc<dyn Clock>,
    /// The name of this replica.
    name: String,
    permits: Semaphore,
}

impl ReplicaRequests {
    pub(super) fn new(store: Arc<dyn Coordination>, clock: Arc<dyn Clock>, name: &str) -> Self {
        Self {
            store,
            clock,
            name: name.to_owned(),
            permits: Semaphore::new(MAX_REQUESTS),
        }
    }

    /// Sends a request to these replicas, and waits for their answers.
    pub(super) async fn send(
        &self,
        request: &ReplicaRequest,
        replicas: &BTreeSet<String>,
    ) -> Result<Answers, StoreError> {
        let mut received = BTreeMap::new();
        if !replicas.is_empty() {
            let _permit = self.permits.acquire().await;
            let id = format!("{:016x}", rand::rng().random::<u64>());
            let key = format!("{REQUEST_PREFIX}{id}");
            let text = self.encode(request)?;
            self.store.put_value(&key, Some(&text)).await?;
            let waited = self.wait(&id, replicas, &mut received).await;
            self.store.put_value(&key, None).await?;
            for replica in received.keys() {
                let key = format!("{ANSWER_PREFIX}{id}/{replica}");
                self.store.put_value(&key, None).await?;
            }
            waited?;
        }
        let complete = replicas.iter().all(|name| received.contains_key(name));
        Ok(Answers {
            answers: received.into_values().collect(),
            complete,
        })
    }

    async fn wait(
        &self,
        id: &str,
        replicas: &BTreeSet<String>,
        received: &mut BTreeMap<String, ReplicaAnswer>,
    ) -> Result<(), StoreError> {
        let deadline = Instant::now() + TIMEOUT;
        let prefix = format!("{ANSWER_PREFIX}{id}/");
        while !replicas.iter().all(|name| received.contains_key(name)) && Instant::now() < deadline
        {
            tokio::time::sleep(READ_INTERVAL).await;
            for text in self.store.list_values(&prefix).await?.into_values() {
                let answer: Result<Message<ReplicaAnswer>, _> = serde_json::from_str(&text);
                if let Ok(Message { from, content, .. }) = answer {
                    received.insert(from, content);
                }
            }
        }
        Ok(())
    }

    /// Answers the requests of other replicas, and removes those that are outdated, with their answers.
    pub(super) async fn answer(
        &self,
        answered: &mut BTreeSet<String>,
        answer: impl Fn(ReplicaRequest) -> ReplicaAnswer,
    ) -> Result<(), StoreError> {
        let requests = self.store.list_values(REQUEST_PREFIX).await?;
        answered.retain(|key| requests.contains_key(key));
        for (key, text) in requests {
            let message: Option<Message<ReplicaRequest>> = serde_json::from_str(&text).ok();
            let now_ms = self.clock.now_ms();
            match message {
                Some(message) if now_ms.saturating_sub(message.at_ms) <= OUTDATED_MS => {
                    let id = key.strip_prefix(REQUEST_PREFIX).unwrap_or(&key);
                    if message.from == self.name || !answered.insert(key.clone()) {
                        continue;
                    }
                    let text = self.encode(&answer(message.content))?;
                    let key = format!("{ANSWER_PREFIX}{id}/{}", self.name);
                    self.store.put_value(&key, Some(&text)).await?;
                }
                // Of a replica that has stopped, or of a newer version.
                _ => self.store.put_value(&key, None).await?,
            }
        }
        Ok(())
    }

    /// Removes answers that arrived after their request had ended.
    pub(super) async fn remove_outdated_answers(&self) -> Result<(), StoreError> {
        let now_ms = self.clock.now_ms();
        for (key, text) in self.store.list_values(ANSWER_PREFIX).await? {
            let answer: Option<Message<ReplicaAnswer>> = serde_json::from_str(&text).ok();
            let is_current = |a: &Message<_>| now_ms.saturating_sub(a.at_ms) <= OUTDATED_MS;
            if !answer.as_ref().is_some_and(is_current) {
                self.store.put_value(&key, None).await?;
            }
        }
        Ok(())
    }

    fn encode(&self, content: &impl Serialize) -> Result<String, StoreError> {
        let message = Message {
            at_ms: self.clock.now_ms(),
            from: self.name.clone(),
            content,
        };
        let fault = |e| StoreError::Data(format!("a request to replicas cannot be encoded: {e}"));
        serde_json::to_string(&message).map_err(fault)
    }
}
