//! Three directories over one store: three replicas.

use super::*;
use berth_store::sqlite::SqliteStore;
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::sync::atomic::AtomicU32;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);

/// An engine source that counts, with engines that a test takes away.
#[derive(Default)]
struct Engines {
    prepared: AtomicU32,
    discarded: AtomicU32,
    states: Mutex<Vec<(String, TargetState)>>,
    /// How long a preparation takes.
    delay: Duration,
    fails: AtomicBool,
}

impl Engines {
    fn set_state(&self, engine: &str, state: TargetState) {
        self.states.lock().push((engine.to_owned(), state));
    }

    fn prepared(&self) -> u32 {
        self.prepared.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl EngineSource for Engines {
    type Error = &'static str;

    fn state(&self, target: &AffinityTarget) -> TargetState {
        let states = self.states.lock();
        let latest = states.iter().rev().find(|(name, _)| *name == target.engine);
        latest.map_or(TargetState::Usable, |(_, state)| *state)
    }

    async fn prepare(&self) -> Result<AffinityTarget, &'static str> {
        let number = self.prepared.fetch_add(1, Ordering::SeqCst);
        sleep(self.delay).await;
        if self.fails.load(Ordering::SeqCst) {
            return Err("no engine");
        }
        Ok(AffinityTarget {
            engine: format!("engine-{number}"),
            api: "10.0.0.1:9076".parse().unwrap(),
            stream: None,
            incarnation: None,
            headers: std::collections::BTreeMap::new(),
        })
    }

    async fn discard(&self, _target: AffinityTarget) {
        self.discarded.fetch_add(1, Ordering::SeqCst);
    }
}

struct Replicas {
    _dir: TempDir,
    store: Arc<SqliteStore>,
    all: Vec<AffinityDirectory>,
}

async fn start(claim_ttl: Duration, max_age: Duration) -> Replicas {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&dir.path().join("berth.db")).await;
    let store = Arc::new(store.unwrap());
    let directory = |number: u32| {
        let settings = DirectorySettings {
            claimer: format!("r{number}"),
            claim_ttl,
            max_age,
        };
        AffinityDirectory::new(store.clone(), None, settings)
    };
    Replicas {
        _dir: dir,
        all: (0..3).map(directory).collect(),
        store,
    }
}

fn request(seed: u8) -> KeyRequest<'static> {
    KeyRequest {
        id: AffinityId([seed; 32]),
        owner: None,
        pool: "apps",
        idle: LONG,
        max_per_owner: None,
    }
}

async fn resolve(
    directory: &AffinityDirectory,
    engines: &Engines,
    seed: u8,
) -> Result<Resolution, ResolveError<&'static str>> {
    let deadline = Instant::now() + LONG;
    directory.resolve(&request(seed), engines, deadline).await
}

async fn engine(directory: &AffinityDirectory, engines: &Engines) -> String {
    let resolution = resolve(directory, engines, 1).await.unwrap();
    resolution.held.target.engine.clone()
}

#[tokio::test]
async fn two_hundred_first_requests_at_three_replicas_prepare_one_engine() {
    let replicas = start(LONG, LONG).await;
    let engines = Engines {
        delay: Duration::from_millis(100),
        ..Engines::default()
    };
    let requests = (0..200).map(|number| resolve(&replicas.all[number % 3], &engines, 1));
    let results = join_all(requests).await.into_iter();
    let results: Vec<_> = results.map(Result::unwrap).collect();
    assert_eq!(engines.prepared(), 1);
    assert!(results.iter().all(|result| result.held == results[0].held));
    assert_eq!(results.iter().filter(|result| result.is_new).count(), 1);
}

#[tokio::test]
async fn a_lost_engine_is_replaced_once_and_an_unavailable_one_is_kept() {
    let replicas = start(LONG, LONG).await;
    let engines = Engines::default();
    for replica in &replicas.all {
        assert_eq!(engine(replica, &engines).await, "engine-0");
    }
    engines.set_state("engine-0", TargetState::Unavailable);
    for replica in &replicas.all {
        let result = resolve(replica, &engines, 1).await;
        assert_eq!(result, Err(ResolveError::EngineUnavailable));
    }
    engines.set_state("engine-0", TargetState::Lost);
    let requests = (0..60).map(|number| engine(&replicas.all[number % 3], &engines));
    let names = join_all(requests).await;
    assert!(names.iter().all(|name| name == "engine-1"), "{names:?}");
    assert_eq!(engines.prepared(), 2);
}

#[tokio::test]
async fn a_cancelled_request_or_a_failed_preparation_does_not_block_the_key() {
    let replicas = start(LONG, LONG).await;
    let slow = Engines {
        delay: LONG,
        ..Engines::default()
    };
    let deadline = Instant::now() + Duration::from_millis(50);
    let result = replicas.all[0].resolve(&request(1), &slow, deadline).await;
    assert_eq!(result, Err(ResolveError::DeadlineExceeded));
    let engines = Engines::default();
    engines.fails.store(true, Ordering::SeqCst);
    let result = resolve(&replicas.all[1], &engines, 1).await;
    assert_eq!(result, Err(ResolveError::Preparation("no engine")));
    engines.fails.store(false, Ordering::SeqCst);
    assert_eq!(engine(&replicas.all[2], &engines).await, "engine-1");
}

#[tokio::test]
async fn a_replica_that_is_too_slow_is_overtaken_and_discards_its_engine() {
    let replicas = start(Duration::from_millis(50), LONG).await;
    let slow = Engines {
        delay: Duration::from_millis(300),
        ..Engines::default()
    };
    let fast = Engines {
        prepared: AtomicU32::new(10),
        ..Engines::default()
    };
    let late = engine(&replicas.all[0], &slow);
    let overtaking = async {
        sleep(Duration::from_millis(20)).await;
        engine(&replicas.all[1], &fast).await
    };
    let names = tokio::join!(late, overtaking);
    assert_eq!(names, ("engine-10".to_owned(), "engine-10".to_owned()));
    assert_eq!(slow.discarded.load(Ordering::SeqCst), 1);
    assert_eq!(fast.discarded.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_limit_of_an_owner_applies_to_new_keys_only() {
    let replicas = start(LONG, LONG).await;
    let engines = Engines::default();
    let deadline = Instant::now() + LONG;
    let limited = |seed| KeyRequest {
        owner: Some(OwnerId([1; 32])),
        max_per_owner: Some(1),
        ..request(seed)
    };
    for replica in &replicas.all {
        let (first, second) = (limited(1), limited(2));
        replica.resolve(&first, &engines, deadline).await.unwrap();
        let result = replica.resolve(&second, &engines, deadline).await;
        assert_eq!(result, Err(ResolveError::LimitReached));
    }
    assert_eq!(engines.prepared(), 1);
}

#[tokio::test]
async fn a_released_key_gets_another_engine_and_others_see_it_when_their_cache_expires() {
    let replicas = start(LONG, Duration::ZERO).await;
    let engines = Engines::default();
    let [first, second, _] = &replicas.all[..] else {
        panic!("not three replicas");
    };
    let held = resolve(first, &engines, 1).await.unwrap().held;
    assert_eq!(engine(second, &engines).await, "engine-0");
    let id = request(1).id;
    assert!(first.release(id, held.epoch, "drained").await.unwrap());
    assert!(!first.release(id, held.epoch, "drained").await.unwrap());
    assert_eq!(engine(second, &engines).await, "engine-1");
    assert_eq!(engine(first, &engines).await, "engine-1");
}

#[tokio::test]
async fn activity_is_written_in_batches_and_kept_while_the_store_is_down() {
    let replicas = start(LONG, LONG).await;
    let engines = Engines::default();
    let directory = &replicas.all[0];
    resolve(directory, &engines, 1).await.unwrap();
    let id = request(1).id;
    let active_at = async || {
        let record = replicas.store.find_affinity(&id).await.unwrap();
        record.unwrap().last_active_at_ms
    };
    let before = active_at().await;
    sleep(Duration::from_millis(20)).await;
    let now = Instant::now();
    directory.record_activity(id, now);
    directory.record_activity(id, now - LONG);
    for seed in 0..1_200_u32 {
        let mut other = [9; 32];
        other[..4].copy_from_slice(&seed.to_le_bytes());
        directory.record_activity(AffinityId(other), now);
    }
    directory.flush_activity(now).await.unwrap();
    assert!(active_at().await > before);
    directory.record_activity(id, now);
    replicas.store.close().await;
    assert!(directory.flush_activity(now).await.is_err());
    assert!(directory.flush_activity(now).await.is_err(), "kept");
}
