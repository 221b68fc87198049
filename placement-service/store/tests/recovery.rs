//! Faults of the backend while a store is open: afterwards the store works again without a restart, and nothing is
//! left behind that blocks others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use berth_databases::{FaultProxy, PgBouncer, Postgres, Redis};
use berth_store::conformance::{self, event, session_row};
use berth_store::postgres::PostgresStore;
use berth_store::redis::RedisStore;
use berth_store::session_id::IdHash;
use berth_store::sqlite::SqliteStore;
use berth_store::{Coordination, InsertResult, SessionRow, SessionStore, StoreError};
use futures_util::future::join_all;
use sqlx::{Connection, Row};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const LIMIT: Duration = Duration::from_secs(10);
/// Within this time a store must have recovered, on a loaded machine.
const RECOVERY: Duration = Duration::from_secs(20);

/// A session that differs from those with other numbers.
fn numbered_row(number: u32) -> SessionRow {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    SessionRow {
        id_hash: IdHash(id),
        session_ref: format!("ref-{number}"),
        ..session_row(1)
    }
}

async fn insert(store: &impl SessionStore, number: u32) -> Result<InsertResult, StoreError> {
    let row = numbered_row(number);
    store.insert(&row, None, &event(&row, None)).await
}

/// Waits until writes succeed again; each attempt has another number.
async fn wait_until_writable(store: &impl SessionStore, numbers: std::ops::Range<u32>) {
    let end = Instant::now() + RECOVERY;
    for number in numbers {
        match insert(store, number).await {
            Ok(_) => return,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("no attempt is left");
}

/// The number of connections to a database whose transaction waits for its client.
async fn count_open_transactions(url: &str) -> i64 {
    let mut direct = sqlx::PgConnection::connect(url).await.unwrap();
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    );
    count.fetch_one(&mut direct).await.unwrap()
}

fn database_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

/// A file system with little space.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None`: this process may not mount one.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(dir.path());
        mount.status().unwrap().success().then_some(Self(dir))
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.path().join("filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.0.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn sqlite_accepts_writes_as_soon_as_the_disk_has_space_again() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not run: only root can mount a small file system");
        return;
    };
    let store = SqliteStore::open(&disk.0.path().join("berth.db"))
        .await
        .unwrap();
    insert(&store, 0).await.unwrap();
    disk.fill();
    // More failures than the pool has connections.
    let mut failures = 0;
    for number in 1..500 {
        failures += u32::from(insert(&store, number).await.is_err());
        if failures == 20 {
            break;
        }
    }
    assert_eq!(failures, 20);
    assert!(
        store
            .find(&numbered_row(0).id_hash)
            .await
            .unwrap()
            .is_some()
    );
    disk.free();
    for number in 500..510 {
        insert(&store, number).await.unwrap();
    }
}

#[tokio::test]
async fn a_heartbeat_reports_a_damaged_sqlite_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    insert(&store, 0).await.unwrap();
    store.heartbeat().await.unwrap();
    store.close().await;
    damage_table(&path, "sessions").await;
    let store = SqliteStore::open(&path).await.unwrap();
    store.heartbeat().await.unwrap();
    insert(&store, 1).await.unwrap_err();
    // The heartbeat's own table is not damaged.
    let error = store.heartbeat().await.unwrap_err();
    assert!(matches!(error, StoreError::Down(_)), "{error}");
    store.ping().await.unwrap();
}

/// Overwrites the first page of a table.
async fn damage_table(path: &Path, table: &str) {
    let url = format!("sqlite://{}", path.display());
    let mut direct = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let select = "SELECT rootpage, (SELECT page_size FROM pragma_page_size) AS size \
                  FROM sqlite_master WHERE type = 'table' AND name = $1";
    let row = sqlx::query(select)
        .bind(table)
        .fetch_one(&mut direct)
        .await
        .unwrap();
    let (page, size): (i64, i64) = (row.get("rootpage"), row.get("size"));
    direct.close().await.unwrap();
    let mut file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let start = u64::try_from((page - 1) * size).unwrap();
    file.seek(SeekFrom::Start(start)).unwrap();
    file.write_all(&vec![0xaa; usize::try_from(size).unwrap()])
        .unwrap();
}

#[tokio::test]
async fn a_begin_that_arrives_after_its_caller_has_gone_leaves_no_transaction() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let store = PostgresStore::open(&far_url, LIMIT).await.unwrap();
    store.ping().await.unwrap();
    proxy.delay_once("BEGIN", Duration::from_millis(600));
    let gone = timeout(Duration::from_millis(300), insert(&store, 1)).await;
    assert!(gone.is_err());
    assert!(proxy.has_delayed());
    // Long enough for the statement to arrive, and for the connection to be back in the pool.
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(count_open_transactions(&url).await, 0);
    // Whichever connection they get, statements are committed.
    for number in 2..20 {
        store
            .put_value(&format!("a/{number}"), Some(""))
            .await
            .unwrap();
    }
    let other = PostgresStore::open(&url, LIMIT).await.unwrap();
    assert_eq!(other.list_values("a/").await.unwrap().len(), 18);
}

#[tokio::test]
async fn a_postgres_that_was_read_only_accepts_writes_again() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    insert(&store, 0).await.unwrap();
    let database = database_of(&url);
    let set = format!("ALTER DATABASE {database} SET default_transaction_read_only = on");
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    // As after a failover to a standby: connections that are opened now cannot write, also later.
    server.execute("postgres", &set).await.unwrap();
    server.execute("postgres", &end).await.unwrap();
    let all = (0..16).map(|number| insert(&store, 100 + number));
    assert!(join_all(all).await.iter().all(Result::is_err));
    store.find(&numbered_row(0).id_hash).await.unwrap().unwrap();
    assert!(store.heartbeat().await.is_err());
    let reset = format!("ALTER DATABASE {database} RESET default_transaction_read_only");
    server.execute("postgres", &reset).await.unwrap();
    wait_until_writable(&store, 200..1_000).await;
    store.heartbeat().await.unwrap();
}

#[tokio::test]
async fn a_thousand_aborted_logins_open_few_connections_and_leave_no_transaction() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let store = PostgresStore::open(&far_url, LIMIT).await.unwrap();
    let mut aborted = 0;
    for round in 0..50 {
        let logins = (0..20).map(|login| {
            let patience = Duration::from_micros(200 * u64::from(login));
            timeout(patience, insert(&store, round * 20 + login))
        });
        aborted += join_all(logins).await.iter().filter(|r| r.is_err()).count();
    }
    assert!(aborted > 300, "{aborted}");
    insert(&store, 10_000).await.unwrap();
    let opened = proxy.connections();
    assert!(opened < 60, "{opened} connections");
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(count_open_transactions(&url).await, 0);
}

#[tokio::test]
async fn a_role_with_three_connections_serves_24_logins_at_once() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database_with_connection_limit(3).await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    for round in 0..3 {
        let logins = (0..24).map(|login| insert(&store, round * 24 + login));
        for result in join_all(logins).await {
            assert_eq!(result, Ok(InsertResult::Inserted));
        }
    }
}

#[tokio::test]
async fn the_contract_holds_through_pgbouncer() {
    let server = Postgres::shared().await.unwrap();
    let bouncer = PgBouncer::start(&server).await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&bouncer.url(database_of(&url)), LIMIT)
        .await
        .unwrap();
    conformance::sessions(&store).await;
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&bouncer.url(database_of(&url)), LIMIT)
        .await
        .unwrap();
    conformance::races(&store).await;
}

#[tokio::test]
async fn a_redis_that_was_a_replica_accepts_writes_again() {
    let server = Redis::start().await.unwrap();
    let url = server.database();
    let store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    insert(&store, 0).await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut replica_of = redis::cmd("REPLICAOF");
    replica_of.arg("127.0.0.1").arg("1");
    replica_of.query_async::<()>(&mut direct).await.unwrap();
    assert!(insert(&store, 1).await.is_err());
    assert!(store.heartbeat().await.is_err());
    store.find(&numbered_row(0).id_hash).await.unwrap().unwrap();
    store.ping().await.unwrap();
    let mut primary = redis::cmd("REPLICAOF");
    primary.arg("NO").arg("ONE");
    primary.query_async::<()>(&mut direct).await.unwrap();
    wait_until_writable(&store, 2..100).await;
    store.heartbeat().await.unwrap();
}

/// A lease that a clock an hour ahead has written does not last an hour.
#[tokio::test]
async fn a_lease_of_a_clock_that_was_ahead_counts_as_expired() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let postgres = PostgresStore::open(&url, LIMIT).await.unwrap();
    let insert = "INSERT INTO leases (name, holder, until) VALUES ('sweep', 'gone', 9000000000000)";
    server.execute(database_of(&url), insert).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let sqlite = SqliteStore::open(&path).await.unwrap();
    let mut direct = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap();
    sqlx::query(insert).execute(&mut direct).await.unwrap();
    let server = Redis::shared().await.unwrap();
    let url = server.database();
    let redis_store = RedisStore::open(&url, "berth", LIMIT).await.unwrap();
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut set = redis::cmd("HSET");
    set.arg("{berth}:leases")
        .arg("sweep")
        .arg("9000000000000 gone");
    set.query_async::<()>(&mut direct).await.unwrap();
    let stores: [&dyn Coordination; 3] = [&postgres, &sqlite, &redis_store];
    for store in stores {
        assert_eq!(
            store.lease("sweep", "us", Duration::from_secs(60)).await,
            Ok(true)
        );
        assert_eq!(
            store.lease("sweep", "other", Duration::from_secs(60)).await,
            Ok(false)
        );
    }
}
