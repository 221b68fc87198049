//! Concurrent operations of several replicas, and rows written by other versions or under other clocks.

use super::{event, removal, session_row};
use crate::{
    Coordination, Event, EventLog, InsertResult, PAYLOAD_VERSION, SessionQuery, SessionRow,
    SessionStore, StoreError,
};
use futures_util::future::{join, join_all};
use std::time::Duration;

const ROWS: u8 = 20;
const CALLERS: usize = 6;

async fn insert_rows(store: &impl SessionStore) -> Vec<SessionRow> {
    let rows: Vec<_> = (1..=ROWS).map(session_row).collect();
    for row in &rows {
        store.insert(row, None, &event(row, None)).await.unwrap();
    }
    rows
}

/// Touching a session that another call removes does not bring it back; of several removals exactly one
/// succeeds.
pub async fn races(store: &(impl SessionStore + EventLog)) {
    let rows = insert_rows(store).await;
    let ids: Vec<_> = rows.iter().map(|row| (row.id_hash, 9_000)).collect();
    let backwards: Vec<_> = ids.iter().copied().rev().collect();
    let endings: Vec<_> = rows.iter().map(removal).collect();
    let other: Vec<_> = endings.iter().cloned().rev().collect();
    let touches = join(store.touch(&ids), store.touch(&backwards));
    let removals = join(store.remove(&endings), store.remove(&other));
    let ((one, two), (first, second)) = join(touches, removals).await;
    one.unwrap();
    two.unwrap();
    let removed = first.unwrap().len() + second.unwrap().len();
    assert_eq!(removed, rows.len(), "exactly one call removes each session");
    store.touch(&ids).await.unwrap();
    for row in &rows {
        assert_eq!(store.find(&row.id_hash).await, Ok(None));
    }
    let log = store.events_after(0, 1_000).await.unwrap();
    let ends = log.iter().filter(|(_, event)| event.cause.is_some());
    assert_eq!(ends.count(), rows.len(), "each end is logged once");
}

/// The session limit holds under concurrent logins.
pub async fn limit_race(store: &impl SessionStore) {
    let rows = (1..=ROWS).map(|seed| SessionRow {
        account: "ann".to_owned(),
        ancestors: Vec::new(),
        ..session_row(seed)
    });
    let inserts = rows.map(|row| async move {
        let event = event(&row, None);
        store.insert(&row, Some(3), &event).await.unwrap()
    });
    let all = join_all(inserts).await;
    let yes = all
        .iter()
        .filter(|kept| **kept == InsertResult::Inserted)
        .count();
    assert_eq!(yes, 3);
}

/// Of concurrent callers, one gets the lease and one the claim; all get the same key.
pub async fn coordination_race(store: &impl Coordination) {
    let holders: Vec<_> = (0..CALLERS).map(|n| n.to_string()).collect();
    let leases = holders
        .iter()
        .map(|name| store.lease("sweep", name, Duration::from_secs(60)));
    let leases = join_all(leases).await;
    assert_eq!(leases.iter().filter(|got| **got == Ok(true)).count(), 1);
    let once = join_all((0..CALLERS).map(|_| store.claim("jti", 1_000, 2_000))).await;
    assert_eq!(once.iter().filter(|first| **first == Ok(true)).count(), 1);
    let keys = (1..=ROWS).map(|seed| store.server_key("k", [seed; 32]));
    let keys = join_all(keys).await;
    assert!(keys.iter().all(|key| *key == keys[0]), "all have the same");
}

/// Sequence numbers become visible in order, without a gap that a reader could skip.
pub async fn log_race(store: &impl EventLog) {
    let events: Vec<Event> = (0..3).map(|seed| event(&session_row(seed), None)).collect();
    let writers = join_all((0..CALLERS * 4).map(|_| store.append(&events)));
    let total = u64::try_from(CALLERS * 4 * events.len()).unwrap();
    let reader = async {
        let mut seen = 0;
        while seen < total {
            for (number, _) in store.events_after(seen, 7).await.unwrap() {
                assert_eq!(number, seen + 1, "a sequence number was skipped");
                seen = number;
            }
        }
    };
    let (written, ()) = join(writers, reader).await;
    assert!(written.iter().all(Result::is_ok));
}

/// Rows of a newer binary are refused, not misread, and the cleanup lists skip them. A touch from a slow clock
/// changes nothing.
pub async fn versions_and_clocks(store: &impl SessionStore) {
    let newer = SessionRow {
        payload_version: PAYLOAD_VERSION + 1,
        account: "ann".to_owned(),
        ..session_row(1)
    };
    let ours = SessionRow {
        account: "ann".to_owned(),
        ..session_row(2)
    };
    for row in [&newer, &ours] {
        store.insert(row, None, &event(row, None)).await.unwrap();
    }
    let refused = store.find(&newer.id_hash).await.unwrap_err();
    let StoreError::Data(why) = refused else {
        unreachable!("expected a data error, got: {refused}");
    };
    assert!(why.contains("newer than this binary"), "{why}");
    let ann = SessionQuery::Account("ann".to_owned());
    assert!(
        store.list(&ann, 10).await.is_err(),
        "a list is complete or an error"
    );
    let over = SessionQuery::ExpiredAt(u64::MAX >> 1);
    let names = store.list(&over, 10).await.unwrap();
    assert_eq!(names, [ours]);

    let ahead = SessionRow {
        created_at_ms: 10_000_000,
        last_seen_at_ms: 10_000_000,
        ..session_row(3)
    };
    store
        .insert(&ahead, None, &event(&ahead, None))
        .await
        .unwrap();
    store.touch(&[(ahead.id_hash, 9_000_000)]).await.unwrap();
    assert_eq!(store.find(&ahead.id_hash).await, Ok(Some(ahead)));
}
