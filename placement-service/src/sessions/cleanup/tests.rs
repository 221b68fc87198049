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
    let config = from_text("session: { sweep: { batch: 3 } }\nevents: { retention: 4 }");
    ExpiryCleanup::new(&sessions, &config.unwrap().config)
}

async fn logged_events(w: &Testbed) -> Vec<Event> {
    let all = w.store.events_after(0, 100).await.unwrap();
    all.into_iter().map(|(_, event)| event).collect()
}

async fn count_rows(w: &Testbed) -> usize {
    let over = SessionQuery::ExpiredAt(u64::MAX / 2);
    w.store.list(&over, 100).await.unwrap().len()
}

#[tokio::test]
async fn one_replica_removes_expired_sessions_until_its_lease_expires() {
    let w = testbed().await;
    let mut one = replica(&w.store, &w.clock).await;
    let two = replica(&w.store, &w.clock).await;
    w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(31 * MINUTE_MS);
    assert!(one.remove_expired().await.unwrap());
    assert_eq!(count_rows(&w).await, 0);
    assert!(!two.remove_expired().await.unwrap());
    // The lease is of the store's clock: this replica's may be an hour ahead.
    w.clock.advance_ms(60 * MINUTE_MS);
    assert!(!two.remove_expired().await.unwrap());
    one.lease = Duration::from_millis(50);
    assert!(one.remove_expired().await.unwrap(), "extends the lease");
    tokio::time::sleep(2 * one.lease).await;
    assert!(two.remove_expired().await.unwrap(), "the lease has expired");
    assert!(!one.remove_expired().await.unwrap());
    two.release().await;
    assert!(
        one.remove_expired().await.unwrap(),
        "the lease was released"
    );
}

#[tokio::test]
async fn every_end_is_logged_once_with_its_cause() {
    let w = testbed().await;
    let one = replica(&w.store, &w.clock).await;
    let (busy, _) = w.sessions.create(demo()).await.unwrap();
    for _ in 0..20 {
        w.clock.advance_ms(29 * MINUTE_MS);
        w.sessions.resolve(busy.reveal()).await.unwrap();
        w.sessions.flush().await;
    }
    for _ in 0..7 {
        w.sessions.create(demo()).await.unwrap();
    }
    w.clock.advance_ms(15 * MINUTE_MS);
    let (young, _) = w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(16 * MINUTE_MS);
    let config = "events: { retention: 1000 }\nsession: { sweep: { batch: 3 } }";
    let config = from_text(config).unwrap().config;
    let sweeper = ExpiryCleanup::new(&one.sessions, &config);
    assert!(sweeper.remove_expired().await.unwrap());
    assert!(sweeper.remove_expired().await.unwrap());
    let ended = logged_events(&w).await;
    let ended: Vec<_> = ended
        .iter()
        .filter(|e| e.kind == EventKind::Expired)
        .collect();
    let count = |cause| ended.iter().filter(|e| e.cause == Some(cause)).count();
    assert_eq!(ended.len(), 8);
    assert_eq!(count(EndCause::IdleTimeout), 7);
    assert_eq!(count(EndCause::AbsoluteTimeout), 1);
    assert_eq!(count_rows(&w).await, 1);
    w.sessions.resolve(young.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_session_active_after_it_was_listed_survives() {
    let w = testbed().await;
    let one = replica(&w.store, &w.clock).await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(31 * MINUTE_MS);
    let over = SessionQuery::ExpiredAt(one.sessions.expiry_cutoff_ms());
    let listed = w.store.list(&over, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    let now_ms = w.clock.now_ms();
    w.store.touch(&[(id.hash(), now_ms)]).await.unwrap();
    assert_eq!(one.sessions.end_expired_rows(listed).await.unwrap(), 0);
    assert_eq!(logged_events(&w).await.len(), 1, "only its creation");
    one.sessions.resolve(id.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_session_within_the_grace_period_is_not_removed() {
    let w = testbed().await;
    let one = replica(&w.store, &w.clock).await;
    w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(30 * MINUTE_MS + GRACE_MS - 1);
    one.remove_expired().await.unwrap();
    assert_eq!(count_rows(&w).await, 1);
    w.clock.advance_ms(1);
    one.remove_expired().await.unwrap();
    assert_eq!(count_rows(&w).await, 0);
}

#[tokio::test]
async fn the_event_log_and_used_claims_are_trimmed() {
    let w = testbed().await;
    let one = replica(&w.store, &w.clock).await;
    for _ in 0..6 {
        w.sessions.create(demo()).await.unwrap();
    }
    let shared = &one.sessions.stores.coordination;
    let now_ms = w.clock.now_ms();
    shared.claim("jti", now_ms, now_ms + 10).await.unwrap();
    w.clock.advance_ms(11);
    one.remove_expired().await.unwrap();
    assert_eq!(logged_events(&w).await.len(), 4);
    // At the old time, the claim would still be known if it had not been purged.
    assert!(shared.claim("jti", now_ms, now_ms + 10).await.unwrap());
}

#[tokio::test]
async fn orphaned_child_sessions_and_their_descendants_end() {
    let w = testbed().await;
    let one = replica(&w.store, &w.clock).await;
    let (parent, _) = w.sessions.create(demo()).await.unwrap();
    let parent_row = w.store.find(&parent.hash()).await.unwrap().unwrap();
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
        w.store.insert(&row, None, &event).await.unwrap();
    }
    one.sessions.reconcile().await.unwrap();
    assert_eq!(count_rows(&w).await, 4, "no session is orphaned");
    // Removed without its child sessions, as by a process that stops in between.
    let lost = SessionRemoval {
        id_hash: parent.hash(),
        only_if_expired_at_ms: None,
        event: conformance::event(&parent_row, Some(EndCause::Logout)),
    };
    w.store.remove(&[lost]).await.unwrap();
    one.sessions.reconcile().await.unwrap();
    one.sessions.reconcile().await.unwrap();
    assert_eq!(count_rows(&w).await, 0);
    let orphaned = logged_events(&w).await;
    let orphaned: Vec<_> = orphaned
        .iter()
        .filter(|e| e.cause == Some(EndCause::ParentEnded))
        .map(|e| e.session_ref.as_str())
        .collect();
    assert_eq!(orphaned, ["ref-1", "ref-2", "ref-3"]);
}
