//! Keeps the ledger and the books of this process in step, in the background: signs of life, changes, what the
//! others have, probes. After a loss everything is told anew before anything is placed under a limit.

use super::{Held, Ledger};
use berth_scheduler::accounting::Tallies;
use berth_store::StoreError;
use berth_store::redis::{Change, Synced};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

/// Every so many signs of life it is looked whether the ledger has just what it should.
const AUDIT: u32 = 240;

pub(super) struct Keeping {
    pub(super) ledger: Ledger,
    pub(super) tallies: Tallies,
    /// The ledger has the counts of all sessions' streams.
    pub(super) exchanges_streams: bool,
    /// Where we are in what the others tell of probes; empty: at what is new.
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
                    info!("the ledger answers again");
                }
                Ok(()) => {}
            }
        }
    }

    /// Goes on alone: each replica probes for itself, and nothing is placed under a limit.
    fn lose(&mut self, error: &StoreError) {
        self.ledger.state().doubt();
        if !self.lost {
            self.lost = true;
            self.ledger.0.metrics.lost();
            warn!(%error, "the ledger does not answer: pools with limits get nothing new");
        }
        self.ledger.0.metrics.stand(false, 0, true);
        self.stop_stream_exchange();
        let now = Instant::now();
        self.ledger.0.probes.round(true, Vec::new(), now);
        drop(self.ledger.0.probes.take_told(now));
        // Reservations lapse all the same.
        self.tallies.lapse(now);
    }

    /// A sign of life, and what comes back for it.
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
            info!(prober = synced.prober, "who probes the engines has changed");
        }
        let up = ledger.state().up;
        ledger.0.metrics.stand(up, synced.replicas, synced.prober);
        Ok(())
    }

    /// Enters what the others have.
    fn take(&self, synced: &Synced) {
        let now = Instant::now();
        for (stream, engine) in &synced.moved {
            {
                let mut state = self.ledger.state();
                let mut changes = state.changes.iter();
                // It has come back meanwhile.
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

    /// Tells what has changed, and what engines have answered.
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

    /// Makes the ledger have just what this replica has.
    async fn reconcile(&self) -> Result<(), StoreError> {
        let ledger = &self.ledger;
        // From here on changes are noted: they come after what is told now.
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

/// What has to change in the ledger, which has these streams, for it to have what is held.
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
    // The ledger itself knows which of them it has.
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
    fn what_is_just_being_asked_for_is_neither_claimed_nor_given_back() {
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
    fn what_is_open_here_and_was_not_told_is_no_mere_claim() {
        let mut state = State::default();
        let (stream, engine): (Arc<str>, Arc<str>) = ("s".into(), "p/e".into());
        state.hold(&stream, &engine, true);
        state.held.get_mut(&stream).unwrap().untold = true;
        // The ledger was lost, and what was to be told with it.
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
