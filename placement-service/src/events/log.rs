//! Reads the event log for others (S35): from a cursor on, only what concerns them, waiting for news when
//! there is none. Tells when something may have been missed. Knows nothing of HTTP.

use crate::sessions::Sessions;
use crate::sessions::server_keys;
use berth_store::{Cursor, LogId};
use berth_store::{Event, EventLog, StoreError, Stores};

use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Entries read from the store in one step.
const BATCH: u32 = 200;
/// Entries looked at for one page: a reader whom few concern gets an empty page and a cursor further on.
const SCANNED: usize = 5_000;

/// Whose events are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Everybody's.
    Operator,
    /// Those of the runtime's sessions, and those of the sessions that these have started.
    Runtime(String),
}

/// What is read.
#[derive(Clone, Debug)]
pub struct Query {
    pub reader: Reader,
    /// `None`: from now on.
    pub cursor: Option<Cursor>,
    /// Only of this session, and of those that it has started.
    pub session: Option<String>,
    /// How long to wait for the first event.
    pub wait: Duration,
    /// Events at the most.
    pub limit: usize,
}

/// Events in the order of the log, and where to go on.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Events)]
pub struct Page {
    /// Behind everything that was looked at, told or not.
    pub cursor: String,
    pub events: Vec<Told>,
    /// Events may be missing between the reader's cursor and this page: it begins with the oldest that there
    /// is. Whoever depends on them asks anew what it must know.
    pub gap: bool,
}

/// An event and the cursor behind it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Told {
    pub cursor: String,
    #[serde(flatten)]
    pub event: Event,
}

/// The log as others see it.
pub struct Events {
    log: Arc<dyn EventLog>,
    sessions: Arc<Sessions>,
    id: LogId,
    newest: watch::Receiver<u64>,
    ending: watch::Sender<bool>,
}

impl Events {
    /// Over the log of a store. `newest` changes with every entry.
    pub async fn open(
        stores: &Stores,
        sessions: Arc<Sessions>,
        newest: watch::Receiver<u64>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            log: stores.events.clone(),
            sessions,
            id: server_keys::log_id(stores.shared.as_ref()).await?,
            newest,
            ending: watch::Sender::new(false),
        })
    }

    /// The log's name.
    #[must_use]
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// From here on nobody waits for events: the service is ending.
    pub fn end(&self) {
        self.ending.send_replace(true);
    }

    /// A page; empty when nothing happened in the time given.
    pub async fn read(&self, query: &Query) -> Result<Page, StoreError> {
        let until = Instant::now() + query.wait;
        let (mut newest, mut ending) = (self.newest.clone(), self.ending.subscribe());
        let (mut at, mut gap) = self.begin(query.cursor).await?;
        let (mut events, mut scanned) = (Vec::new(), 0);
        loop {
            // Before reading: whatever is added from here on rings.
            newest.mark_unchanged();
            let entries = self.log.events_after(at, BATCH).await?;
            let last = entries.len() < BATCH as usize;
            if entries.first().is_some_and(|(first, _)| *first > at + 1) {
                gap = true;
            }
            for (sequence, event) in entries {
                (at, scanned) = (sequence, scanned + 1);
                if self.concerns(query, &event).await? {
                    let cursor = self.cursor(sequence);
                    events.push(Told { cursor, event });
                }
                if events.len() >= query.limit {
                    return Ok(self.page(at, events, gap));
                }
            }
            if !last && scanned < SCANNED {
                continue;
            }
            if gap || !events.is_empty() || scanned >= SCANNED || *ending.borrow() {
                return Ok(self.page(at, events, gap));
            }
            tokio::select! {
                Ok(()) = newest.changed() => {}
                Ok(()) = ending.changed() => {}
                () = tokio::time::sleep_until(until) => return Ok(self.page(at, events, gap)),
            }
        }
    }

    /// The sequence number to begin behind, and whether something is missing before it.
    async fn begin(&self, cursor: Option<Cursor>) -> Result<(u64, bool), StoreError> {
        let bounds = self.log.bounds().await?;
        let Some(cursor) = cursor else {
            return Ok((bounds.newest, false));
        };
        let kept = bounds.removed..=bounds.newest;
        if cursor.log == self.id && kept.contains(&cursor.sequence) {
            Ok((cursor.sequence, false))
        } else {
            Ok((bounds.removed, true))
        }
    }

    async fn concerns(&self, query: &Query, event: &Event) -> Result<bool, StoreError> {
        let parent = event.parent_ref.as_deref();
        if let Some(session) = query.session.as_deref()
            && event.session_ref != session
            && parent != Some(session)
        {
            return Ok(false);
        }
        let (Reader::Runtime(runtime), parent) = (&query.reader, parent) else {
            return Ok(true);
        };
        if event.runtime == *runtime {
            return Ok(true);
        }
        match parent {
            Some(parent) => Ok(self.sessions.runtime_of(parent).await? == Some(runtime.clone())),
            None => Ok(false),
        }
    }

    fn cursor(&self, sequence: u64) -> String {
        let log = self.id;
        Cursor { log, sequence }.to_string()
    }

    fn page(&self, at: u64, events: Vec<Told>, gap: bool) -> Page {
        Page {
            cursor: self.cursor(at),
            events,
            gap,
        }
    }
}

#[cfg(test)]
mod tests;
