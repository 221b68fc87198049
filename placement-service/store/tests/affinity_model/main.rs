//! Random sequences of steps on affinity records have the results of a simple model, on every store.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod model;
mod steps;

use berth_databases::{Postgres, Redis};
use berth_store::AffinityStore;
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::sqlite::SqliteStore;
use model::run;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use steps::step;
use tokio::runtime::Runtime;

const LIMIT: Duration = Duration::from_secs(10);
/// Longer than the test, so that a record expires at once or not at all.
const LONG: Duration = Duration::from_secs(100);
const CLAIMERS: [&str; 2] = ["r1", "r2"];
/// The number of ids of one sequence; each sequence has its own.
const IDS: u32 = 4;

fn check(runtime: &Runtime, cases: u32, store: &impl AffinityStore) {
    let next = AtomicU32::new(0);
    let mut runner = TestRunner::new(Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = prop::collection::vec(step(), 1..60);
    let checked = runner.run(&steps, |steps| {
        let base = next.fetch_add(IDS, Ordering::Relaxed);
        runtime.block_on(run(store, base, &steps));
        Ok(())
    });
    checked.unwrap();
}

#[test]
fn sqlite_does_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let opening = async { SqliteStore::open(&dir.path().join("berth.db")).await };
    let store = runtime.block_on(opening).unwrap();
    check(&runtime, 60, &store);
}

#[test]
fn postgres_does_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    let (_server, store) = runtime.block_on(async {
        let server = Postgres::shared().await.unwrap();
        let url = server.database().await.unwrap();
        let store = PostgresStore::open(&url, LIMIT).await.unwrap();
        (server, store)
    });
    check(&runtime, 20, &store);
}

#[test]
fn redis_does_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    let (_server, store) = runtime.block_on(async {
        let server = Redis::shared().await.unwrap();
        let store = RedisStore::open(&server.database(), "berth", LIMIT)
            .await
            .unwrap();
        (server, store)
    });
    check(&runtime, 60, &store);
}
