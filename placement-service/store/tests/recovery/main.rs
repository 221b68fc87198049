//! Faults of the backend while a store is open: afterwards the store works again without a restart, and nothing is
//! left behind that blocks others.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod affinity;
mod leases;
mod postgres;
mod redis;
mod sqlite;

use berth_store::conformance::{event, session_row};
use berth_store::session_id::IdHash;
use berth_store::{InsertResult, SessionRow, SessionStore, StoreError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);
/// Within this time a store must have recovered, on a loaded machine.
pub(crate) const RECOVERY: Duration = Duration::from_secs(20);

/// A session that differs from those with other numbers.
pub(crate) fn numbered_row(number: u32) -> SessionRow {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&number.to_be_bytes());
    SessionRow {
        id_hash: IdHash(id),
        session_ref: format!("ref-{number}"),
        ..session_row(1)
    }
}

pub(crate) async fn insert(
    store: &impl SessionStore,
    number: u32,
) -> Result<InsertResult, StoreError> {
    let row = numbered_row(number);
    store.insert(&row, None, &event(&row, None)).await
}

/// Waits until writes succeed again; each attempt has another number.
pub(crate) async fn wait_until_writable(store: &impl SessionStore, numbers: std::ops::Range<u32>) {
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
