//! Drains with a manual clock, a store in memory and two replicas.

use super::schedule::{RESEND_AFTER_MS, STRAGGLERS_MS};
use super::*;
use crate::core::clock::ManualClock;
use crate::engines::fleet::{Fleet, PoolFleet};
use berth_scheduler::engine::{Endpoint, Engine, State};
use berth_store::in_memory::InMemoryStore;

struct Testbed {
    clock: Arc<ManualClock>,
    store: Arc<InMemoryStore>,
}

struct Replica {
    drains: Drains,
    fleet: tokio::sync::watch::Sender<Arc<Fleet>>,
    engines: Arc<[Arc<Engine>]>,
    events: Arc<Mutex<Vec<(String, u64)>>>,
}

impl Testbed {
    fn new() -> Self {
        Self {
            clock: Arc::new(ManualClock::new(1_000_000)),
            store: Arc::new(InMemoryStore::new(None).unwrap()),
        }
    }

    async fn replica(&self) -> Replica {
        let (registry, pool) = (
            AccountingRegistry::new(Duration::from_secs(30)),
            Arc::from("p"),
        );
        let engine = |name: &str| {
            let endpoint = Endpoint {
                api: ([127, 0, 0, 1], 1).into(),
                metrics: None,
            };
            let accounting = registry.get_or_create(&pool, &name.into());
            Arc::new(Engine {
                state: State::Ok,
                ..Engine::new(name.into(), endpoint, accounting)
            })
        };
        let engines: Arc<[Arc<Engine>]> = Arc::new([engine("a"), engine("b/c")]);
        let (sender, fleet) = FleetReader::channel();
        sender.send_replace(fleet_of(&engines));
        let events = Arc::new(Mutex::new(Vec::new()));
        let sent_events = Arc::clone(&events);
        let send_event: SendEvent = Box::new(move |event| {
            let GatewayEvent::EngineDrained {
                engine, over_ms, ..
            } = event
            else {
                return;
            };
            sent_events.lock().push((engine, over_ms));
        });
        let drains = Drains::start(
            fleet,
            registry.clone(),
            self.store.clone(),
            self.clock.clone(),
            [("p".to_owned(), Duration::from_secs(20))].into(),
            ActiveDrains::default(),
            send_event,
        );
        Replica {
            drains: drains.await.unwrap(),
            fleet: sender,
            engines,
            events,
        }
    }
}

fn fleet_of(engines: &Arc<[Arc<Engine>]>) -> Arc<Fleet> {
    Arc::new(Fleet::new(vec![PoolFleet {
        name: "p".into(),
        discovered: true,
        current: true,
        engines: Arc::clone(engines),
    }]))
}

impl Replica {
    /// Sets which engines the discovery reports as terminating.
    fn set_terminating(&self, leaving: [bool; 2]) {
        let engines = self.engines.iter().zip(leaving).map(|(engine, leaving)| {
            let mut engine = (**engine).clone();
            engine.terminating = leaving;
            Arc::new(engine)
        });
        self.fleet.send_replace(fleet_of(&engines.collect()));
    }

    fn drained(&self) -> Vec<bool> {
        let now = Instant::now();
        self.engines
            .iter()
            .map(|e| e.accounting.snapshot(now).draining)
            .collect()
    }

    fn events(&self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.events.lock())
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_reaches_every_replica_and_a_restart() {
    let testbed = Testbed::new();
    let (first, second) = (testbed.replica().await, testbed.replica().await);
    assert_eq!(first.drained(), [false, false]);
    first
        .drains
        .drain("p", "b/c", Duration::from_secs(60))
        .await
        .unwrap();
    assert_eq!(first.drained(), [false, true]);
    assert_eq!(first.events(), [("b/c".to_owned(), 60_000)]);
    testbed.clock.advance_ms(20_000);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(
        (second.drained(), second.events()),
        (vec![false, true], vec![("b/c".to_owned(), 40_000)])
    );
    assert_eq!(first.events(), []);
    drop(second);
    let restarted = testbed.replica().await;
    assert_eq!(restarted.drained(), [false, true]);
    assert_eq!(restarted.events(), [("b/c".to_owned(), 40_000)]);
    assert_eq!(restarted.drains.get("p", "b/c").unwrap().over_ms, 60_000);
    restarted.drains.undrain("p", "b/c").await.unwrap();
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(
        (first.drained(), restarted.drained()),
        (vec![false, false], vec![false, false])
    );
    assert_eq!(first.drains.get("p", "b/c"), None);
}

#[tokio::test(start_paused = true)]
async fn the_event_for_stragglers_is_sent_once_at_the_end() {
    let testbed = Testbed::new();
    let first = testbed.replica().await;
    first
        .drains
        .drain("p", "a", Duration::from_secs(10))
        .await
        .unwrap();
    assert_eq!(first.events(), [("a".to_owned(), 10_000)]);
    testbed.clock.advance_ms(9_999);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), []);
    testbed.clock.advance_ms(1);
    tokio::time::sleep(READ_INTERVAL * 5).await;
    assert_eq!(first.events(), [("a".to_owned(), STRAGGLERS_MS)]);
    assert_eq!(first.drained(), [true, false], "until it is undrained");
    // The first event of a drain with a period of zero has a period of zero, too.
    first.drains.drain("p", "a", Duration::ZERO).await.unwrap();
    assert_eq!(first.events(), [("a".to_owned(), 0)]);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), [("a".to_owned(), STRAGGLERS_MS)]);
}

#[tokio::test(start_paused = true)]
async fn the_event_for_stragglers_is_sent_again_while_sockets_stay_open() {
    let testbed = Testbed::new();
    let first = testbed.replica().await;
    let accounting = &first.engines[0].accounting;
    accounting.opened("s", "r", Instant::now());
    first.drains.drain("p", "a", Duration::ZERO).await.unwrap();
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events().len(), 2);
    testbed.clock.advance_ms(RESEND_AFTER_MS - 1);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), []);
    testbed.clock.advance_ms(1);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), [("a".to_owned(), STRAGGLERS_MS)]);
    accounting.closed("s", Duration::ZERO, Instant::now());
    testbed.clock.advance_ms(RESEND_AFTER_MS);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), []);
}

#[tokio::test(start_paused = true)]
async fn the_record_of_an_engine_is_deleted_after_the_retention() {
    let testbed = Testbed::new();
    let first = testbed.replica().await;
    for engine in ["a", "gone"] {
        first
            .drains
            .drain("p", engine, Duration::ZERO)
            .await
            .unwrap();
    }
    first
        .drains
        .drain("q", "gone", Duration::ZERO)
        .await
        .unwrap();
    let has_record = async || {
        let records = testbed.store.list_values(KEY_PREFIX).await.unwrap();
        records.into_keys().collect::<Vec<_>>()
    };
    testbed.clock.advance_ms(RETENTION_MS);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(has_record().await.len(), 3);
    testbed.clock.advance_ms(1);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    // The record of a pool that is not configured stays: its engines are unknown.
    assert_eq!(has_record().await, ["drain/p/a", "drain/q/gone"]);
    assert_eq!(first.drains.get("p", "gone"), None);
}

#[tokio::test(start_paused = true)]
async fn foreign_records_are_ignored() {
    let testbed = Testbed::new();
    for (name, text) in [("drain/p/a", "x"), ("drain/p", "{}"), ("other/p/a", "{}")] {
        testbed.store.put_value(name, Some(text)).await.unwrap();
    }
    let first = testbed.replica().await;
    assert_eq!(
        (first.drained(), first.events()),
        (vec![false, false], vec![])
    );
}

#[tokio::test(start_paused = true)]
async fn a_terminating_engine_drains_until_it_is_active_again() {
    let testbed = Testbed::new();
    let first = testbed.replica().await;
    first.set_terminating([true, false]);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.drained(), [true, false]);
    assert_eq!(first.events(), [("a".to_owned(), 20_000)]);
    // The drain starts when the engine is first seen terminating, and does not restart with each refresh.
    testbed.clock.advance_ms(19_999);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), []);
    testbed.clock.advance_ms(1);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), [("a".to_owned(), STRAGGLERS_MS)]);
    first.set_terminating([false, false]);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.drained(), [false, false]);
    // The period that an operator has set takes precedence.
    first.set_terminating([false, true]);
    let drain_duration = Duration::from_secs(90);
    first
        .drains
        .drain("p", "b/c", drain_duration)
        .await
        .unwrap();
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(first.events(), [("b/c".to_owned(), 90_000)]);
    first.set_terminating([false, false]);
    tokio::time::sleep(READ_INTERVAL * 2).await;
    assert_eq!(
        first.drained(),
        [false, true],
        "the operator's drain continues"
    );
}
