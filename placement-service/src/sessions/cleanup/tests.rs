//! Two replicas with one store and a manual clock.

use super::*;
use crate::config::load::from_text;
use crate::core::clock::{Clock, ManualClock};
use crate::sessions::tests::{MINUTE_MS, Testbed, demo, start_sessions, testbed};
use berth_store::session_id::IdHash;
use berth_store::sqlite::SqliteStore;
use berth_store::{Event, EventKind, EventLog, SessionRemoval, SessionStore, conformance};
use std::time::Duration;

/// A replica that removes three sessions in one step.
async fn replica(store: &Arc<SqliteStore>, clock: &Arc<ManualClock>) -> ExpiryCleanup {
    let sessions = Arc::new(start_sessions(store, clock, Duration::ZERO).await);
    let config = from_text("session: { cleanup: { batch: 3 } }\nevents: { retention: 4 }");
    ExpiryCleanup::new(&sessions, &config.unwrap().config)
}

async fn logged_events(testbed: &Testbed) -> Vec<Event> {
    let all = testbed.store.events_after(0, 100).await.unwrap();
    all.into_iter().map(|(_, event)| event).collect()
}

async fn count_rows(testbed: &Testbed) -> usize {
    let all_expired = SessionQuery::ExpiredAt(u64::MAX / 2);
    testbed.store.list(&all_expired, 100).await.unwrap().len()
}

#[tokio::test]
async fn one_replica_removes_expired_sessions_until_its_lease_expires() {
    let testbed = testbed().await;
    let mut first = replica(&testbed.store, &testbed.clock).await;
    let second = replica(&testbed.store, &testbed.clock).await;
    testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(31 * MINUTE_MS);
    assert!(first.remove_expired().await.unwrap());
    assert_eq!(count_rows(&testbed).await, 0);
    assert!(!second.remove_expired().await.unwrap());
    // The lease is of the store's clock: this replica's may be an hour ahead.
    testbed.clock.advance_ms(60 * MINUTE_MS);
    assert!(!second.remove_expired().await.unwrap());
    first.lease = Duration::from_millis(50);
    assert!(first.remove_expired().await.unwrap(), "extends the lease");
    tokio::time::sleep(2 * first.lease).await;
    assert!(
        second.remove_expired().await.unwrap(),
        "the lease has expired"
    );
    first.lease = second.lease;
    assert!(!first.remove_expired().await.unwrap());
    second.release().await;
    assert!(
        first.remove_expired().await.unwrap(),
        "the lease was released"
    );
}

#[tokio::test]
async fn every_end_is_logged_once_with_its_cause() {
    let testbed = testbed().await;
    let first = replica(&testbed.store, &testbed.clock).await;
    let (busy, _) = testbed.sessions.create(demo()).await.unwrap();
    for _ in 0..20 {
        testbed.clock.advance_ms(29 * MINUTE_MS);
        testbed.sessions.resolve(busy.reveal()).await.unwrap();
        testbed.sessions.flush().await;
    }
    for _ in 0..7 {
        testbed.sessions.create(demo()).await.unwrap();
    }
    testbed.clock.advance_ms(15 * MINUTE_MS);
    let (active, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(16 * MINUTE_MS);
    let config = "events: { retention: 1000 }\nsession: { cleanup: { batch: 3 } }";
    let config = from_text(config).unwrap().config;
    let sweeper = ExpiryCleanup::new(&first.sessions, &config);
    assert!(sweeper.remove_expired().await.unwrap());
    assert!(sweeper.remove_expired().await.unwrap());
    let end_events = logged_events(&testbed).await;
    let end_events: Vec<_> = end_events
        .iter()
        .filter(|e| e.kind == EventKind::Expired)
        .collect();
    let count = |cause| end_events.iter().filter(|e| e.cause == Some(cause)).count();
    assert_eq!(end_events.len(), 8);
    assert_eq!(count(EndCause::IdleTimeout), 7);
    assert_eq!(count(EndCause::AbsoluteTimeout), 1);
    assert_eq!(count_rows(&testbed).await, 1);
    testbed.sessions.resolve(active.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_session_active_after_it_was_listed_survives() {
    let testbed = testbed().await;
    let first = replica(&testbed.store, &testbed.clock).await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(31 * MINUTE_MS);
    let expired = SessionQuery::ExpiredAt(first.sessions.expiry_cutoff_ms());
    let listed = testbed.store.list(&expired, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    let now_ms = testbed.clock.now_ms();
    testbed.store.touch(&[(id.hash(), now_ms)]).await.unwrap();
    assert_eq!(first.sessions.end_expired_rows(listed).await.unwrap(), 0);
    assert_eq!(logged_events(&testbed).await.len(), 1, "only its creation");
    first.sessions.resolve(id.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_session_within_the_grace_period_is_not_removed() {
    let testbed = testbed().await;
    let first = replica(&testbed.store, &testbed.clock).await;
    testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(30 * MINUTE_MS + GRACE_MS - 1);
    first.remove_expired().await.unwrap();
    assert_eq!(count_rows(&testbed).await, 1);
    testbed.clock.advance_ms(1);
    first.remove_expired().await.unwrap();
    assert_eq!(count_rows(&testbed).await, 0);
}

#[tokio::test]
async fn the_event_log_and_used_claims_are_trimmed() {
    let testbed = testbed().await;
    let first = replica(&testbed.store, &testbed.clock).await;
    for _ in 0..6 {
        testbed.sessions.create(demo()).await.unwrap();
    }
    let shared = &first.sessions.stores.coordination;
    let now_ms = testbed.clock.now_ms();
    shared.claim("jti", now_ms, now_ms + 10).await.unwrap();
    testbed.clock.advance_ms(11);
    first.remove_expired().await.unwrap();
    assert_eq!(logged_events(&testbed).await.len(), 4);
    // At the old time, the claim would still be known if it had not been purged.
    assert!(shared.claim("jti", now_ms, now_ms + 10).await.unwrap());
}

#[tokio::test]
async fn orphaned_child_sessions_and_their_descendants_end() {
    let testbed = testbed().await;
    let first = replica(&testbed.store, &testbed.clock).await;
    let (parent, _) = testbed.sessions.create(demo()).await.unwrap();
    let parent_row = testbed.store.find(&parent.hash()).await.unwrap().unwrap();
    let mut ancestors = vec![parent.hash()];
    for seed in 1..=3 {
        let row = SessionRow {
            id_hash: IdHash([seed; 32]),
            session_ref: format!("ref-{seed}"),
            ancestors: ancestors.clone(),
            ..parent_row.clone()
        };
        ancestors.insert(0, row.id_hash);
        let event = conformance::event(&row, None);
        testbed.store.insert(&row, None, &event).await.unwrap();
    }
    first.sessions.reconcile().await.unwrap();
    assert_eq!(count_rows(&testbed).await, 4, "no session is orphaned");
    // Removed without its child sessions, as by a process that stops in between.
    let removal = SessionRemoval {
        id_hash: parent.hash(),
        only_if_expired_at_ms: None,
        event: conformance::event(&parent_row, Some(EndCause::Logout)),
    };
    testbed.store.remove(&[removal]).await.unwrap();
    first.sessions.reconcile().await.unwrap();
    first.sessions.reconcile().await.unwrap();
    assert_eq!(count_rows(&testbed).await, 0);
    let orphaned = logged_events(&testbed).await;
    let orphaned: Vec<_> = orphaned
        .iter()
        .filter(|e| e.cause == Some(EndCause::ParentEnded))
        .map(|e| e.session_ref.as_str())
        .collect();
    assert_eq!(orphaned, ["ref-1", "ref-2", "ref-3"]);
}
