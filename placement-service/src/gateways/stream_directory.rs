//! The open streams of all replicas: lists them, and closes one. A gateway that has changed its replica is known to two
//! of them; the one with its later report decides. Knows no account.

use super::drains::GatewayDrains;
use super::registry::{MAX_PAGE, ReplicaPage, ReportedStream, StreamQuery};
use super::replica_requests::{Answers, ReplicaAnswer, ReplicaRequest, ReplicaRequests};
use super::replicas::GatewayList;
use super::{Gateways, Shared};
use crate::core::clock::Clock;
use crate::core::ticker::ticker;
use berth_api::GatewayEvent;
use berth_store::{Coordination, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How often the requests of other replicas are read.
const READ_INTERVAL: Duration = Duration::from_millis(500);
/// How often answers that nobody reads are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// Streams of all replicas, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPage {
    pub streams: Vec<ReportedStream>,
    /// The next page begins after this name; `None`: there is none.
    pub next: Option<String>,
    /// False: the store or a replica does not answer, so streams are missing.
    pub complete: bool,
    /// When it was read, in Unix seconds.
    pub at_s: u64,
}

impl StreamPage {
    /// The page of a query that selects no session.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            streams: Vec::new(),
            next: None,
            complete: true,
            at_s: 0,
        }
    }
}

/// The streams of all replicas, and the task that answers other replicas.
pub struct StreamDirectory {
    gateways: Arc<Shared>,
    replicas: Arc<GatewayList>,
    requests: Arc<ReplicaRequests>,
    task: AbortHandle,
}

impl Drop for StreamDirectory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StreamDirectory {
    /// Starts the task that answers other replicas.
    #[must_use]
    pub fn start(
        gateways: &Gateways,
        drains: &GatewayDrains,
        store: Arc<dyn Coordination>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let replicas = drains.replicas();
        let requests = Arc::new(ReplicaRequests::new(store, clock, replicas.own_name()));
        let gateways = gateways.shared.clone();
        let task = tokio::spawn(answer_replicas(gateways.clone(), requests.clone()));
        Self {
            gateways,
            replicas,
            requests,
            task: task.abort_handle(),
        }
    }

    /// A page of the streams that a query selects.
    pub async fn list(&self, query: StreamQuery) -> StreamPage {
        let own = self.gateways.registry().stream_page(&query);
        let request = ReplicaRequest::List(query);
        let (answers, complete) = match self.request_all(&request).await {
            Ok(answers) => (answers.answers, answers.complete),
            Err(error) => {
                tracing::debug!(%error, "the streams of other replicas are not listed");
                (Vec::new(), false)
            }
        };
        let others = answers.into_iter().filter_map(|answer| match answer {
            ReplicaAnswer::Page(page) => Some(page),
            ReplicaAnswer::Closed(_) => None,
        });
        let at_s = self.gateways.clock.now_s();
        merge(others.chain([own]).collect(), complete, at_s)
    }

    /// Has the gateway of a stream close it. False: it is not open.
    ///
    /// # Errors
    /// When no gateway of this replica has it, and the store does not answer.
    pub async fn close(&self, stream: &str) -> Result<bool, StoreError> {
        if self.gateways.close_stream(stream) {
            return Ok(true);
        }
        let request = ReplicaRequest::Close(stream.to_owned());
        let answers = self.request_all(&request).await?.answers;
        Ok(answers.contains(&ReplicaAnswer::Closed(true)))
    }

    async fn request_all(&self, request: &ReplicaRequest) -> Result<Answers, StoreError> {
        let replicas = self.replicas.other_replicas().await?;
        self.requests.send(request, &replicas).await
    }
}

async fn answer_replicas(gateways: Arc<Shared>, requests: Arc<ReplicaRequests>) {
    let mut ticks = ticker(READ_INTERVAL);
    let mut answered = BTreeSet::new();
    let mut cleaned_at = Instant::now();
    loop {
        ticks.tick().await;
        let answer = |request| match request {
            ReplicaRequest::List(query) => {
                ReplicaAnswer::Page(gateways.registry().stream_page(&query))
            }
            ReplicaRequest::Close(stream) => ReplicaAnswer::Closed(gateways.close_stream(&stream)),
        };
        let mut result = requests.answer(&mut answered, answer).await;
        if cleaned_at.elapsed() >= CLEANUP_INTERVAL {
            cleaned_at = Instant::now();
            result = result.and(requests.remove_outdated_answers().await);
        }
        if let Err(error) = result {
            tracing::debug!(%error, "requests of other replicas are not answered");
        }
    }
}

impl Shared {
    /// Sends the gateway of a stream the event that closes it. False: no gateway of this replica has it.
    fn close_stream(&self, stream: &str) -> bool {
        let Some(gateway) = self.registry().gateway_of(stream) else {
            return false;
        };
        tracing::info!(stream, gateway = %gateway, "an operator closes a stream");
        let event = GatewayEvent::StreamEnded {
            stream: stream.to_owned(),
        };
        self.outbox.push(Some(gateway), event, self.clock.now_ms());
        true
    }
}

/// One page of the pages of the replicas. It ends where the first of them ends, because the others know nothing of the
/// streams after that.
fn merge(pages: Vec<ReplicaPage>, complete: bool, at_s: u64) -> StreamPage {
    let mut latest: BTreeMap<String, u64> = BTreeMap::new();
    for (gateway, sequence) in pages.iter().flat_map(|page| &page.gateways) {
        let known = latest.entry(gateway.clone()).or_default();
        *known = (*known).max(*sequence);
    }
    let mut next = pages.iter().filter_map(|page| page.next.clone()).min();
    let mut streams = BTreeMap::new();
    for ReplicaPage {
        streams: of_page,
        gateways,
        ..
    } in pages
    {
        for stream in of_page {
            let is_latest = gateways.get(&stream.gateway) == latest.get(&stream.gateway);
            let is_within = next
                .as_deref()
                .is_none_or(|next| stream.stream.as_str() <= next);
            if is_latest && is_within {
                streams.insert(stream.stream.clone(), stream);
            }
        }
    }
    let mut streams: Vec<ReportedStream> = streams.into_values().collect();
    if streams.len() > MAX_PAGE {
        streams.truncate(MAX_PAGE);
        next = streams.last().map(|last| last.stream.clone());
    }
    StreamPage {
        streams,
        next,
        complete,
        at_s,
    }
}
