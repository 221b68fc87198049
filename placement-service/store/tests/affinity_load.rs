//! Measures each store with 100,000 affinity records: rates, bytes, the load at a restart and the sweep. Ignored,
//! because it takes minutes and checks no behaviour:
//! `cargo test --release -p berth-store --test affinity_load -- --ignored --nocapture --test-threads 1`
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use berth_databases::{Postgres, Redis};
use berth_store::conformance::affinity_id;
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::sqlite::SqliteStore;
use berth_store::{
    AffinityClaim, AffinityId, AffinityKind, AffinityPage, AffinityRecord, AffinityState,
    AffinityStore, AffinityTarget, ClaimResult, OwnerId,
};
use futures_util::{StreamExt, stream};
use sqlx::Connection;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

const RECORDS: u32 = 100_000;
const ENGINES: u32 = 50;
const KEYS_PER_ACCOUNT: u32 = 5;
const MAX_CONCURRENT: usize = 32;
const BATCH: usize = 500;
const PAGE: u32 = 1_000;
const LIMIT: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(36_000);

fn claim(number: u32, max_per_owner: Option<u32>) -> AffinityClaim<'static> {
    let mut owner = [1; 32];
    owner[..4].copy_from_slice(&(number / KEYS_PER_ACCOUNT).to_le_bytes());
    AffinityClaim {
        id: affinity_id(number),
        owner: Some(OwnerId(owner)),
        pool: "applications",
        claimer: "berth-6d4cf56db6-x2x7z",
        ttl: LIMIT,
        max_per_owner,
    }
}

/// As of a pod without an engine session of a driver.
fn target(number: u32) -> AffinityTarget {
    AffinityTarget {
        engine: format!("engine-{}", number % ENGINES),
        api: "10.0.12.34:9076".parse().unwrap(),
        stream: None,
        incarnation: Some("0b3e7c52-1f7b-4c1b-9d38-5f3f8e6a3c11".to_owned()),
        headers: BTreeMap::new(),
    }
}

/// One line of figures.
struct Report(String);

impl Report {
    /// Calls `call` for each number, 32 at once, and adds the rate.
    async fn rate<F: Future>(&mut self, what: &str, numbers: u32, call: impl FnMut(u32) -> F) {
        let started = Instant::now();
        let calls = stream::iter(0..numbers).map(call);
        let calls = calls.buffer_unordered(MAX_CONCURRENT);
        calls.for_each(async |_| ()).await;
        self.per_second(what, numbers, started);
    }

    fn per_second(&mut self, what: &str, count: u32, started: Instant) {
        let rate = f64::from(count) / started.elapsed().as_secs_f64();
        write!(self.0, " | {what} {rate:.0}/s").unwrap();
    }
}

async fn fill(store: &impl AffinityStore, report: &mut Report) {
    let epochs = std::sync::Mutex::new(vec![0; RECORDS as usize]);
    let claim_one = |number: u32| {
        let epochs = &epochs;
        async move {
            // Every second claim counts the records of its owner.
            let max = number.is_multiple_of(2).then_some(20);
            match store.claim_affinity(&claim(number, max)).await.unwrap() {
                ClaimResult::Claimed { epoch } => epochs.lock().unwrap()[number as usize] = epoch,
                other => panic!("{other:?}"),
            }
        }
    };
    report.rate("claims", RECORDS, claim_one).await;
    let hold_one = |number: u32| {
        let epoch = epochs.lock().unwrap()[number as usize];
        hold(store, number, epoch, IDLE)
    };
    report.rate("holds", RECORDS, hold_one).await;
}

async fn hold(store: &impl AffinityStore, number: u32, epoch: u64, idle: Duration) {
    let (id, claimer) = (affinity_id(number), claim(number, None).claimer);
    let held = store
        .hold_affinity(&id, epoch, claimer, &target(number), idle)
        .await;
    assert!(held.unwrap());
}

async fn use_records(store: &impl AffinityStore, report: &mut Report) {
    let look_up = |number: u32| async move {
        let number = number * 5;
        let result = store
            .claim_affinity(&claim(number, Some(20)))
            .await
            .unwrap();
        assert!(matches!(result, ClaimResult::Held(_)));
    };
    report
        .rate("claims of held keys", RECORDS / 5, look_up)
        .await;
    let started = Instant::now();
    let ids: Vec<(AffinityId, Duration)> = (0..RECORDS)
        .map(|number| (affinity_id(number), Duration::ZERO))
        .collect();
    for batch in ids.chunks(BATCH) {
        store.touch_affinity(batch).await.unwrap();
    }
    report.per_second("touches, 500 at once", RECORDS, started);
}

/// Reads all held records, as at a restart. Returns their epochs.
async fn load(store: &impl AffinityStore, report: &mut Report) -> Vec<(AffinityId, u64)> {
    let started = Instant::now();
    let mut epochs = Vec::new();
    let mut last: Option<AffinityRecord> = None;
    loop {
        let after = last.as_ref().map(|record| {
            let AffinityState::Held(target) = &record.state else {
                panic!("not held");
            };
            (target.engine.as_str(), record.id)
        });
        let page = AffinityPage {
            kind: AffinityKind::Key,
            pool: "applications",
            engine: None,
            after,
        };
        let found = store.list_affinity(&page, PAGE).await.unwrap();
        epochs.extend(found.iter().map(|record| (record.id, record.epoch)));
        if found.len() < PAGE as usize {
            break;
        }
        last = found.last().cloned();
    }
    assert_eq!(epochs.len(), RECORDS as usize);
    write!(report.0, " | load {:.2} s", started.elapsed().as_secs_f64()).unwrap();
    epochs
}

/// Lets all records expire, and removes them.
async fn sweep(store: &impl AffinityStore, report: &mut Report, epochs: &[(AffinityId, u64)]) {
    let replace_one = |number: u32| async move {
        let (id, epoch) = epochs[number as usize];
        let claimer = claim(0, None).claimer;
        let replaced = store.replace_affinity(&id, epoch, claimer, LIMIT).await;
        let epoch = replaced.unwrap().unwrap();
        let target = target(number);
        let held = store
            .hold_affinity(&id, epoch, claimer, &target, Duration::ZERO)
            .await;
        assert!(held.unwrap());
    };
    report.rate("replaced and held", RECORDS, replace_one).await;
    let (started, mut removed) = (Instant::now(), 0);
    while removed < u64::from(RECORDS) {
        removed += store.sweep_affinity(500).await.unwrap();
    }
    assert_eq!(removed, u64::from(RECORDS));
    let seconds = started.elapsed().as_secs_f64();
    write!(report.0, " | sweep, 500 at once {seconds:.1} s").unwrap();
}

#[tokio::test]
#[ignore = "a measurement"]
async fn sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let mut report = Report("SQLite".to_owned());
    let store = SqliteStore::open(&path).await.unwrap();
    let empty = std::fs::metadata(&path).unwrap().len();
    fill(&store, &mut report).await;
    use_records(&store, &mut report).await;
    store.close().await;
    let bytes = std::fs::metadata(&path).unwrap().len() - empty;
    write!(report.0, " | {} bytes each", bytes / u64::from(RECORDS)).unwrap();
    let store = SqliteStore::open(&path).await.unwrap();
    let epochs = load(&store, &mut report).await;
    sweep(&store, &mut report, &epochs).await;
    eprintln!("{}", report.0);
}

#[tokio::test]
#[ignore = "a measurement"]
async fn postgres() {
    let server = Postgres::start().await.unwrap();
    let url = server.database().await.unwrap();
    let mut report = Report("PostgreSQL".to_owned());
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    fill(&store, &mut report).await;
    use_records(&store, &mut report).await;
    let mut direct = sqlx::PgConnection::connect(&url).await.unwrap();
    let bytes = async |direct: &mut sqlx::PgConnection| -> i64 {
        let size = sqlx::query_scalar("SELECT pg_total_relation_size('affinity')");
        size.fetch_one(direct).await.unwrap()
    };
    let used = bytes(&mut direct).await / i64::from(RECORDS);
    let vacuum = sqlx::raw_sql("VACUUM FULL affinity");
    vacuum.execute(&mut direct).await.unwrap();
    let compact = bytes(&mut direct).await / i64::from(RECORDS);
    write!(
        report.0,
        " | {used} bytes each, {compact} after a full vacuum"
    )
    .unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    let epochs = load(&store, &mut report).await;
    sweep(&store, &mut report, &epochs).await;
    eprintln!("{}", report.0);
}

#[tokio::test]
#[ignore = "a measurement"]
async fn redis_server() {
    let server = Redis::start().await.unwrap();
    let url = server.database();
    let mut report = Report("Redis".to_owned());
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let empty = redis_memory(&url).await;
    fill(&store, &mut report).await;
    use_records(&store, &mut report).await;
    let bytes = redis_memory(&url).await - empty;
    write!(report.0, " | {} bytes each", bytes / u64::from(RECORDS)).unwrap();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let epochs = load(&store, &mut report).await;
    sweep(&store, &mut report, &epochs).await;
    eprintln!("{}", report.0);
}

/// The bytes of the data, without the buffers of the server.
async fn redis_memory(url: &str) -> u64 {
    let client = redis::Client::open(url).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut info = redis::cmd("INFO");
    let text: String = info.arg("memory").query_async(&mut direct).await.unwrap();
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    line("used_memory_dataset:")
}
