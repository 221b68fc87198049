//! Synchronizes the ledger with the accounting of this process in the background: heartbeats, changes, the counts of
//! other replicas, and shared probe results. After a loss of the ledger all streams are sent again before anything is
//! placed under a limit. Decides no placement.

use super::{Held, Ledger};
use berth_scheduler::accounting::Tallies;
use berth_store::StoreError;
use berth_store::redis::{Change, Synced};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

/// After this number of heartbeats the streams in the ledger are compared with those of this replica.
const AUDIT: u32 = 240;

pub(super) struct Keeping {
    pub(super) ledger: Ledger,
    pub(super) tallies: Tallies,
    /// The ledger has the stream counts of all sessions of this replica.
    pub(super) exchanges_streams: bool,
    /// The position in the probe results of the other replicas. Empty: after the newest one.
    place: String,
    signs: u32,
    lost: bool,
}

impl Keeping {
    pub(super) fn new(ledger: Ledger, tallies: Tallies) -> Self {
        Self {
            ledger,
            tallies,
            exchanges_streams: false,
            place: String::new(),
            signs: 0,
            lost: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut signs = tokio::time::interval(self.ledger.0.settings.sync);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let ledger = self.ledger.clone();
            let kept = tokio::select! {
                _ = signs.tick() => self.sign().await,
                () = ledger.0.ring.notified() => self.tell().await,
            };
            match kept {
                Err(error) => self.lose(&error),
                Ok(()) if self.lost && self.ledger.state().up => {
                    self.lost = false;
                    info!("the ledger responds again");
                }
                Ok(()) => {}
            }
        }
    }

    /// Continues without the ledger: this replica probes by itself, and nothing is placed under a limit.
    fn lose(&mut self, error: &StoreError) {
        self.ledger.state().doubt();
        if !self.lost {
            self.lost = true;
            self.ledger.0.metrics.lost();
            warn!(%error, "the ledger does not respond: pools with limits get no new sessions");
        }
        self.ledger.0.metrics.stand(false, 0, true);
        self.stop_stream_exchange();
        let now = Instant::now();
        self.ledger.0.probes.round(true, Vec::new(), now);
        drop(self.ledger.0.probes.take_told(now));
        // Reservations still expire.
        self.tallies.lapse(now);
    }

    /// Sends a heartbeat, and applies the response.
    async fn sign(&mut self) -> Result<(), StoreError> {
        let ledger = self.ledger.clone();
        let synced = ledger.0.redis.sync().await?;
        self.signs = self.signs.wrapping_add(1);
        self.take(&synced);
        let audit = self.signs.is_multiple_of(AUDIT);
        if !synced.known || !ledger.state().up || audit {
            self.reconcile().await?;
        }
        self.tell().await?;
        self.exchange_streams(!synced.known || audit).await?;
        if !synced.settling && ledger.state().up {
            ledger.state().settled = true;
        }
        let heard = if synced.prober {
            Vec::new()
        } else {
            let (heard, place) = ledger.0.redis.read_probes(&self.place).await?;
            self.place = place;
            heard
        };
        if ledger.0.probes.round(synced.prober, heard, Instant::now()) {
            info!(prober = synced.prober, "the prober has changed");
        }
        let up = ledger.state().up;
        ledger.0.metrics.stand(up, synced.replicas, synced.prober);
        Ok(())
    }

    /// Enters the streams and counts of the other replicas.
    fn take(&self, synced: &Synced) {
        let now = Instant::now();
        for (stream, engine) in &synced.moved {
            {
                let mut state = self.ledger.state();
                let mut changes = state.changes.iter();
                // The stream has returned to this replica since.
                let is_untold = |held: &Held| held.untold;
                if state.held.get(stream.as_str()).is_some_and(is_untold)
                    || changes.any(|(_, back, _)| **back == **stream)
                {
                    continue;
                }
                state.held.remove(stream.as_str());
            }
            self.tallies.moved(stream, engine);
        }
        self.tallies.elsewhere(&synced.elsewhere, now);
    }

    /// Sends the queued changes and the probe results of this replica.
    async fn tell(&self) -> Result<(), StoreError> {
        let ledger = &self.ledger;
        let changes = std::mem::take(&mut ledger.state().changes);
        let words: Vec<_> = changes.iter().map(|(c, s, e)| (*c, &**s, &**e)).collect();
        if ledger.0.redis.apply(&words).await? {
            ledger.state().told(&changes);
        } else {
            ledger.state().doubt();
        }
        let told = ledger.0.probes.take_told(Instant::now());
        ledger.0.redis.tell_probes(&told).await
    }

    /// Makes the ledger contain exactly the streams of this replica.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let ledger = &self.ledger;
        // Changes are queued from here on, and so are sent after the streams that are sent now.
        ledger.state().noting = true;
        let entered = ledger.0.redis.streams().await?;
        let changes = differences(&entered, &ledger.state().held);
        let words: Vec<_> = changes.iter().map(|(c, s, e)| (*c, &**s, &**e)).collect();
        let entered = ledger.0.redis.apply(&words).await?;
        let mut state = ledger.state();
        if entered {
            state.told(&changes);
            state.up = state.noting;
        } else {
            state.doubt();
        }
        Ok(())
    }
}

/// The changes that turn `entered`, the streams in the ledger, into `held`, those of this replica.
fn differences(
    entered: &[String],
    held: &HashMap<Arc<str>, Held>,
) -> Vec<(Change, Arc<str>, Arc<str>)> {
    let none: Arc<str> = Arc::default();
    let surplus = entered
        .iter()
        .filter(|stream| !held.contains_key(stream.as_str()));
    let surplus = surplus.map(|stream| {
        (
            Change::Release,
            Arc::from(stream.as_str()),
            Arc::clone(&none),
        )
    });
    let sure = held.iter().filter(|(_, held)| held.sure);
    // All counted streams, because the ledger ignores those that it has.
    let claims = sure.map(|(stream, held)| {
        let change = if held.untold {
            Change::Opened
        } else {
            Change::Claim
        };
        (change, Arc::clone(stream), Arc::clone(&held.engine))
    });
    surplus.chain(claims).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::ledger::State;

    #[test]
    fn a_stream_that_is_being_reserved_is_neither_claimed_nor_released() {
        let held = |sure, untold| Held {
            engine: "p/e".into(),
            sure,
            untold,
        };
        let held = HashMap::from([
            (Arc::from("a"), held(true, false)),
            (Arc::from("b"), held(false, false)),
        ]);
        let entered = ["b".to_owned(), "c".to_owned()];
        let told = differences(&entered, &held);
        let told: Vec<_> = told.iter().map(|(c, s, e)| (*c, &**s, &**e)).collect();
        assert_eq!(
            told,
            [(Change::Release, "c", ""), (Change::Claim, "a", "p/e")]
        );
    }

    #[test]
    fn an_unacknowledged_open_stream_is_sent_as_opened() {
        let mut state = State::default();
        let (stream, engine): (Arc<str>, Arc<str>) = ("s".into(), "p/e".into());
        state.hold(&stream, &engine, true);
        state.held.get_mut(&stream).unwrap().untold = true;
        // The loss of the ledger drops the queued changes.
        state.doubt();
        let told = differences(&["s".to_owned()], &state.held);
        assert_eq!(
            told,
            [(Change::Opened, Arc::clone(&stream), Arc::clone(&engine))]
        );
        state.told(&told);
        let told = differences(&["s".to_owned()], &state.held);
        assert_eq!(told, [(Change::Claim, stream, engine)]);
    }
}
