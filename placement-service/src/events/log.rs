//! Reads pages of the event log for a caller: entries after a cursor that the caller may see, with a long poll when
//! there are none. Decides which events a caller may see, and reports a gap when events may be missing. Must not
//! know HTTP.

use crate::sessions::Sessions;
use crate::sessions::server_keys;
use berth_store::{Cursor, Event, EventKind, EventLog, LogId, StoreError, Stores};

use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Maximum number of entries read from the store at once.
const BATCH: u32 = 200;
/// Maximum number of entries scanned for one page. When few of them concern the reader, it gets an empty page with
/// an advanced cursor instead of a long request.
const MAX_SCANNED: usize = 5_000;

/// The caller that reads: it determines which events are visible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Sees all events.
    Operator,
    /// Sees the events of this runtime's sessions and of their child sessions.
    Runtime(String),
}

/// Parameters of one read.
#[derive(Clone, Debug)]
pub struct Query {
    pub reader: Reader,
    /// Read entries after this cursor; `None`: only entries that are appended from now on.
    pub cursor: Option<Cursor>,
    /// Only events of this session (a `session_ref`) and of its child sessions.
    pub session: Option<String>,
    /// Maximum time to wait for the first event.
    pub wait: Duration,
    /// Maximum number of events in the page.
    pub limit: usize,
}

/// Events in the order of the log, and the cursor for the next read.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Events)]
pub struct Page {
    /// Position after the last entry that was scanned, whether or not it is in `events`.
    pub cursor: String,
    pub events: Vec<EventRecord>,
    /// Events may be missing between the reader's cursor and this page, which starts with the oldest entry
    /// available. A reader that keeps state must query that state again.
    pub gap: bool,
}

/// An event and the cursor of the position after it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EventRecord {
    pub cursor: String,
    #[serde(flatten)]
    pub event: Event,
}

/// Reads the event log for operators and runtimes.
pub struct EventLogReader {
    log: Arc<dyn EventLog>,
    sessions: Arc<Sessions>,
    id: LogId,
    newest: watch::Receiver<u64>,
    shutdown: watch::Sender<bool>,
}

impl EventLogReader {
    /// Opens the log of `stores`. `newest_sequence` changes with every entry that is appended.
    pub async fn open(
        stores: &Stores,
        sessions: Arc<Sessions>,
        newest_sequence: watch::Receiver<u64>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            log: stores.events.clone(),
            sessions,
            id: server_keys::log_id(stores.coordination.as_ref()).await?,
            newest: newest_sequence,
            shutdown: watch::Sender::new(false),
        })
    }

    /// The id of the log, which is part of every cursor.
    #[must_use]
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// Ends all waits, current and future ones, because the service shuts down.
    pub fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// Reads one page; it is empty when no visible event is appended within `query.wait`.
    pub async fn read(&self, query: &Query) -> Result<Page, StoreError> {
        let deadline = Instant::now() + query.wait;
        let (mut newest_sequence, mut shutdown) = (self.newest.clone(), self.shutdown.subscribe());
        let (mut position, mut gap) = self.start_position(query.cursor).await?;
        let (mut events, mut scanned) = (Vec::new(), 0);
        loop {
            // Mark before reading, so that an entry appended during the read ends the wait below.
            newest_sequence.mark_unchanged();
            let entries = self.log.events_after(position, BATCH).await?;
            let is_last_batch = entries.len() < BATCH as usize;
            if entries
                .first()
                .is_some_and(|(first, _)| *first > position + 1)
            {
                gap = true;
            }
            for (sequence, event) in entries {
                (position, scanned) = (sequence, scanned + 1);
                if self.is_visible(query, &event).await? {
                    let cursor = self.cursor(sequence);
                    events.push(EventRecord { cursor, event });
                }
                if events.len() >= query.limit {
                    return Ok(self.page(position, events, gap));
                }
            }
            if !is_last_batch && scanned < MAX_SCANNED {
                continue;
            }
            if gap || !events.is_empty() || scanned >= MAX_SCANNED || *shutdown.borrow() {
                return Ok(self.page(position, events, gap));
            }
            tokio::select! {
                Ok(()) = newest_sequence.changed() => {}
                Ok(()) = shutdown.changed() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(self.page(position, events, gap)),
            }
        }
    }

    /// The sequence number after which to start, and whether entries are missing before it.
    async fn start_position(&self, cursor: Option<Cursor>) -> Result<(u64, bool), StoreError> {
        let bounds = self.log.bounds().await?;
        let Some(cursor) = cursor else {
            return Ok((bounds.newest, false));
        };
        let available = bounds.removed..=bounds.newest;
        if cursor.log == self.id && available.contains(&cursor.sequence) {
            Ok((cursor.sequence, false))
        } else {
            Ok((bounds.removed, true))
        }
    }

    async fn is_visible(&self, query: &Query, event: &Event) -> Result<bool, StoreError> {
        if event.kind == EventKind::KeyMoved {
            return Ok(false);
        }
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

    fn page(&self, position: u64, events: Vec<EventRecord>, gap: bool) -> Page {
        Page {
            cursor: self.cursor(position),
            events,
            gap,
        }
    }
}

#[cfg(test)]
mod tests;
