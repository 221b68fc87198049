//! A full disk, a damaged file, a writer that comes too late.

use crate::{LIMIT, insert, numbered_row};
use berth_store::sqlite::SqliteStore;
use berth_store::{Coordination, SessionStore, StoreError};
use sqlx::{Connection, Row};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::time::{sleep, timeout};

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
async fn a_begin_that_gets_the_lock_after_its_caller_has_gone_leaves_no_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("berth.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let url = format!("sqlite://{}", path.display());
    let mut other = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let gone = timeout(Duration::from_millis(300), insert(&store, 1)).await;
    assert!(gone.is_err());
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    sleep(Duration::from_millis(1_500)).await;
    let write = sqlx::raw_sql("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; COMMIT");
    timeout(LIMIT, write.execute(&mut other))
        .await
        .unwrap()
        .unwrap();
    insert(&store, 2).await.unwrap();
}
