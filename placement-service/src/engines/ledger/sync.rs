//! Synchronizes the ledger with the accounting of this process in the background: heartbeats, changes, the counts of
//! other replicas, and shared probe results. After a loss of the ledger all streams are sent again before anything is
//! placed under a limit. Decides no placement.

use super::{Ledger, StreamEntry};
use crate::core::ticker::ticker;
use berth_scheduler::accounting::AccountingRegistry;
use berth_store::StoreError;
use berth_store::redis::{StreamChange, SyncReply};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::Instant;
use tracing::{info, warn};

/// After this number of heartbeats the streams in the ledger are compared with those of this replica.
const AUDIT_INTERVAL: u32 = 240;

pub(super) struct LedgerSync {
    pub(super) ledger: Ledger,
    pub(super) accounting_registry: AccountingRegistry,
    /// The ledger has the stream counts of all sessions of this replica.
    pub(super) exchanges_streams: bool,
    /// The position in the probe results of the other replicas. Empty: after the newest one.
    probe_cursor: String,
    heartbeats: u32,
    lost: bool,
}

impl LedgerSync {
    pub(super) fn new(ledger: Ledger, accounting_registry: AccountingRegistry) -> Self {
        Self {
            ledger,
            accounting_registry,
            exchanges_streams: false,
            probe_cursor: String::new(),
            heartbeats: 0,
            lost: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut signs = ticker(self.ledger.0.settings.sync);
        loop {
            let ledger = self.ledger.clone();
            let result = tokio::select! {
                _ = signs.tick() => self.heartbeat().await,
                () = ledger.0.notify.notified() => self.send_changes().await,
            };
            match result {
                Err(error) => self.on_loss(&error),
                Ok(()) if self.lost && self.ledger.state().up => {
                    self.lost = false;
                    info!("the ledger responds again");
                }
                Ok(()) => {}
            }
        }
    }

    /// Continues without the ledger: this replica probes by itself, and nothing is placed under a limit.
    fn on_loss(&mut self, error: &StoreError) {
        self.ledger.state().mark_stale();
        if !self.lost {
            self.lost = true;
            self.ledger.0.metrics.record_loss();
            warn!(%error, "the ledger does not respond: pools with limits get no new sessions");
        }
        self.ledger.0.metrics.set_status(false, 0, true);
        self.stop_stream_exchange();
        let now = Instant::now();
        self.ledger.0.probes.on_heartbeat(true, Vec::new(), now);
        drop(self.ledger.0.probes.take_unsent(now));
        // Reservations still expire.
        self.accounting_registry.expire(now);
    }

    /// Sends a heartbeat, and applies the response.
    async fn heartbeat(&mut self) -> Result<(), StoreError> {
        let ledger = self.ledger.clone();
        let synced = ledger.0.redis.sync().await?;
        self.heartbeats = self.heartbeats.wrapping_add(1);
        self.apply_remote(&synced);
        let audit = self.heartbeats.is_multiple_of(AUDIT_INTERVAL);
        if !synced.was_alive || !ledger.state().up || audit {
            self.reconcile().await?;
        }
        self.send_changes().await?;
        self.exchange_streams(!synced.was_alive || audit).await?;
        if !synced.settling && ledger.state().up {
            ledger.state().synced_once = true;
        }
        let probe_results = if synced.is_prober {
            Vec::new()
        } else {
            let (probe_results, cursor) = ledger.0.redis.read_probes(&self.probe_cursor).await?;
            self.probe_cursor = cursor;
            probe_results
        };
        if ledger
            .0
            .probes
            .on_heartbeat(synced.is_prober, probe_results, Instant::now())
        {
            info!(prober = synced.is_prober, "the prober has changed");
        }
        let is_up = ledger.state().up;
        ledger
            .0
            .metrics
            .set_status(is_up, synced.replicas, synced.is_prober);
        Ok(())
    }

    /// Enters the streams and counts of the other replicas.
    fn apply_remote(&self, synced: &SyncReply) {
        let now = Instant::now();
        for (stream, engine) in &synced.moved {
            {
                let mut state = self.ledger.state();
                let mut changes = state.changes.iter();
                // The stream has returned to this replica since.
                let is_unacknowledged = |entry: &StreamEntry| entry.unacknowledged;
                if state
                    .streams
                    .get(stream.as_str())
                    .is_some_and(is_unacknowledged)
                    || changes.any(|(_, changed_stream, _)| **changed_stream == **stream)
                {
                    continue;
                }
                state.streams.remove(stream.as_str());
            }
            self.accounting_registry.transferred(stream, engine);
        }
        self.accounting_registry
            .set_remote_sessions(&synced.remote_counts, now);
    }

    /// Sends the queued changes and the probe results of this replica.
    async fn send_changes(&self) -> Result<(), StoreError> {
        let ledger = &self.ledger;
        let changes = std::mem::take(&mut ledger.state().changes);
        let entries: Vec<_> = changes.iter().map(|(c, s, e)| (*c, &**s, &**e)).collect();
        if ledger.0.redis.apply(&entries).await? {
            ledger.state().acknowledge(&changes);
        } else {
            ledger.state().mark_stale();
        }
        let probe_results = ledger.0.probes.take_unsent(Instant::now());
        ledger.0.redis.publish_probes(&probe_results).await
    }

    /// Makes the ledger contain exactly the streams of this replica.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let ledger = &self.ledger;
        // Changes are queued from here on, and so are sent after the streams that are sent now.
        ledger.state().queueing = true;
        let ledger_streams = ledger.0.redis.own_streams().await?;
        let changes = differences(&ledger_streams, &ledger.state().streams);
        let entries: Vec<_> = changes.iter().map(|(c, s, e)| (*c, &**s, &**e)).collect();
        let applied = ledger.0.redis.apply(&entries).await?;
        let mut state = ledger.state();
        if applied {
            state.acknowledge(&changes);
            state.up = state.queueing;
        } else {
            state.mark_stale();
        }
        Ok(())
    }
}

/// The changes that turn `ledger_streams` into `own_streams`, those of this replica.
fn differences(
    ledger_streams: &[String],
    own_streams: &HashMap<Arc<str>, StreamEntry>,
) -> Vec<(StreamChange, Arc<str>, Arc<str>)> {
    let no_engine: Arc<str> = Arc::default();
    let removals = ledger_streams
        .iter()
        .filter(|stream| !own_streams.contains_key(stream.as_str()));
    let removals = removals.map(|stream| {
        (
            StreamChange::Release,
            Arc::from(stream.as_str()),
            Arc::clone(&no_engine),
        )
    });
    let counted = own_streams.iter().filter(|(_, entry)| entry.counted);
    // All counted streams, because the ledger ignores those that it has.
    let claims = counted.map(|(stream, entry)| {
        let change = if entry.unacknowledged {
            StreamChange::Opened
        } else {
            StreamChange::Claim
        };
        (change, Arc::clone(stream), Arc::clone(&entry.engine))
    });
    removals.chain(claims).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::ledger::State;

    #[test]
    fn a_stream_that_is_being_reserved_is_neither_claimed_nor_released() {
        let new_entry = |counted, unacknowledged| StreamEntry {
            engine: "p/e".into(),
            counted,
            unacknowledged,
        };
        let streams = HashMap::from([
            (Arc::from("a"), new_entry(true, false)),
            (Arc::from("b"), new_entry(false, false)),
        ]);
        let ledger_streams = ["b".to_owned(), "c".to_owned()];
        let changes = differences(&ledger_streams, &streams);
        let changes: Vec<_> = changes.iter().map(|(c, s, e)| (*c, &**s, &**e)).collect();
        assert_eq!(
            changes,
            [
                (StreamChange::Release, "c", ""),
                (StreamChange::Claim, "a", "p/e")
            ]
        );
    }

    #[test]
    fn an_unacknowledged_open_stream_is_sent_as_opened() {
        let mut state = State::default();
        let (stream, engine): (Arc<str>, Arc<str>) = ("s".into(), "p/e".into());
        state.insert_stream(&stream, &engine, true);
        state.streams.get_mut(&stream).unwrap().unacknowledged = true;
        // The loss of the ledger drops the queued changes.
        state.mark_stale();
        let changes = differences(&["s".to_owned()], &state.streams);
        assert_eq!(
            changes,
            [(
                StreamChange::Opened,
                Arc::clone(&stream),
                Arc::clone(&engine)
            )]
        );
        state.acknowledge(&changes);
        let changes = differences(&["s".to_owned()], &state.streams);
        assert_eq!(changes, [(StreamChange::Claim, stream, engine)]);
    }
}
