//! The ledger that replicas of the service share: what each has placed and what is open at its gateways, so
//! that an engine's limit holds over all of them. A placement under a limit is one atomic step there; everything
//! else is told in the background, and what the others have comes back the same way. With one replica there
//! is none, and the books of this process are all there is.
//!
//! When the ledger does not answer, nothing is placed under a limit, as nobody knows whether there is room;
//! pools without limits go on, by what is known.

mod keeping;
mod metrics;
mod probes;
mod streams;

use crate::config;
use crate::core::clock::Clock;
use crate::core::secret::Secret;
use async_trait::async_trait;
use berth_scheduler::accounting::Tallies;
use berth_scheduler::capacity_ledger::{CapacityLedger, Confirmed, Most};
use berth_store::StoreError;
use berth_store::redis::{Change, RedisLedger, Reserved};
use metrics::LedgerMetrics;
pub use probes::Probes;
use prometheus_client::registry::Registry;
use rand::RngExt;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Another replica probes when the one that did has missed so many signs of life.
const PROBER: u32 = 8;

/// This replica's hand on the ledger.
#[derive(Clone)]
pub struct Ledger(Arc<Shared>);

struct Shared {
    redis: RedisLedger,
    settings: config::RedisLedger,
    state: Mutex<State>,
    /// Rings when there is something to tell.
    ring: Notify,
    probes: Probes,
    metrics: LedgerMetrics,
}

#[derive(Default)]
struct State {
    /// It answers, and knows what this replica has.
    up: bool,
    /// What changes is noted: it answers, or is being told anew what this replica has.
    noting: bool,
    /// All replicas had told what they have, once at least.
    settled: bool,
    /// What this replica has, as it should be in the ledger: one per stream that counts in the books.
    held: HashMap<Arc<str>, Held>,
    /// To be told, in this order. Each call of the ledger takes all of them, and one that takes longer than
    /// `timeout` drops them: what changes in that time is the most that is here.
    changes: Vec<(Change, Arc<str>, Arc<str>)>,
}

struct Held {
    engine: Arc<str>,
    /// Counted; otherwise the ledger is just being asked.
    sure: bool,
    /// A gateway has it open, and the ledger has yet to hear of that, whoever had it before.
    untold: bool,
}

/// Ends the telling when it is dropped.
#[derive(Debug)]
pub struct LedgerTask(AbortHandle);

impl Drop for LedgerTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

impl Ledger {
    /// Opens the configured ledger; `None`: this replica is the only one.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn open(
        config: &config::Ledger,
        url: Option<&Secret>,
        clock: &dyn Clock,
        registry: &mut Registry,
    ) -> Result<Option<Self>, StoreError> {
        let (config::Ledger::Redis(settings), Some(url)) = (config, url) else {
            return Ok(None);
        };
        // Unlike that of every replica before, the one of this place too.
        let me = format!("{:x}-{:016x}", clock.now_ms(), rand::rng().random::<u64>());
        // Every replica has noticed by then that Redis is back, and has told what it has.
        let settle = settings.sync * 3 + settings.timeout;
        // Less than anybody waits, so that the connection is given up first.
        let probing = (settings.sync * PROBER).min(settings.lease);
        let limit = settings.timeout.mul_f32(0.9);
        let times = [limit, settings.lease, settle, probing];
        let redis = RedisLedger::open(url.reveal(), &settings.prefix, me, times).await?;
        Ok(Some(Self(Arc::new(Shared {
            redis,
            settings: settings.clone(),
            state: Mutex::default(),
            ring: Notify::new(),
            probes: Probes::default(),
            metrics: LedgerMetrics::register(registry),
        }))))
    }

    /// Tells the ledger what happens, and these books what the others do, from here on.
    #[must_use]
    pub fn keep(&self, tallies: Tallies) -> LedgerTask {
        let keeping = keeping::Keeping::new(self.clone(), tallies);
        LedgerTask(tokio::spawn(keeping.run()).abort_handle())
    }

    /// What replicas tell each other of probes.
    #[must_use]
    pub fn probes(&self) -> &Probes {
        &self.0.probes
    }

    /// Whether all replicas had told what they have, once at least.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.state().settled
    }

    /// Whether it answers: without it nobody knows how much room there is.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state().up
    }

    fn change(&self, change: Change, stream: &Arc<str>, engine: &Arc<str>) {
        let mut state = self.state();
        state.hold(stream, engine, true);
        if let Some(held) = state.held.get_mut(stream) {
            held.untold = change == Change::Opened;
        }
        if state.noting {
            let change = (change, Arc::clone(stream), Arc::clone(engine));
            state.changes.push(change);
            drop(state);
            self.0.ring.notify_one();
        }
    }

    fn gone(&self, change: Change, stream: &str) {
        let mut state = self.state();
        let held = state.held.remove_entry(stream);
        if state.noting && (held.is_some() || change == Change::Closed) {
            let stream = held.map_or_else(|| Arc::from(stream), |(stream, _)| stream);
            state.changes.push((change, stream, Arc::default()));
            drop(state);
            self.0.ring.notify_one();
        }
    }

    /// From here on nothing is certain, until everything has been told anew.
    fn doubt(&self) {
        self.state().doubt();
    }

    /// Nothing within can panic half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl CapacityLedger for Ledger {
    async fn reserve(&self, stream: &Arc<str>, engine: &Arc<str>, most: Most) -> Confirmed {
        if most == (None, None) {
            self.change(Change::Claim, stream, engine);
            return Confirmed::Yes;
        }
        {
            let mut state = self.state();
            if !state.up {
                self.0.metrics.reserved("down");
                return Confirmed::Unsure("the ledger does not answer");
            }
            state.hold(stream, engine, false);
        }
        let answer = self.0.redis.reserve(stream, engine, most).await;
        let (outcome, confirmed) = match answer {
            Ok(Reserved::Yes) => {
                self.state().hold(stream, engine, true);
                ("ok", Confirmed::Yes)
            }
            Ok(Reserved::EngineFull { total, own }) => {
                let elsewhere = total.saturating_sub(own);
                ("engine-full", Confirmed::EngineFull { elsewhere })
            }
            Ok(Reserved::PoolFull) => ("pool-full", Confirmed::PoolFull),
            Ok(Reserved::Settling) => (
                "settling",
                Confirmed::Unsure("replicas are telling the ledger what they have"),
            ),
            Ok(Reserved::Lapsed) => {
                self.doubt();
                (
                    "lapsed",
                    Confirmed::Unsure("the ledger has yet to hear of this replica"),
                )
            }
            Err(error) => {
                tracing::debug!(%error, "no reservation");
                self.doubt();
                ("down", Confirmed::Unsure("the ledger does not answer"))
            }
        };
        self.0.metrics.reserved(outcome);
        confirmed
    }

    fn opened(&self, stream: &Arc<str>, engine: &Arc<str>) {
        self.change(Change::Opened, stream, engine);
    }

    fn released(&self, stream: &str) {
        self.gone(Change::Release, stream);
    }

    fn closed(&self, stream: &str) {
        self.gone(Change::Closed, stream);
    }
}

impl State {
    fn doubt(&mut self) {
        (self.up, self.noting) = (false, false);
        self.changes.clear();
    }

    fn hold(&mut self, stream: &Arc<str>, engine: &Arc<str>, sure: bool) {
        let held = Held {
            engine: Arc::clone(engine),
            sure,
            untold: false,
        };
        self.held.insert(Arc::clone(stream), held);
    }

    /// The ledger has entered these.
    fn told(&mut self, changes: &[(Change, Arc<str>, Arc<str>)]) {
        for (change, stream, _) in changes {
            if let Some(held) = self.held.get_mut(stream)
                && *change == Change::Opened
            {
                held.untold = false;
            }
        }
    }
}
