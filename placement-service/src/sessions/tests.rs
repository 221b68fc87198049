//! Sessions with a real SQLite file and a manual clock.

use super::*;
use crate::core::clock::ManualClock;
use berth_store::session_id::SessionId;
use berth_store::sqlite::SqliteStore;
use berth_store::{EndCause, SessionStore};

pub(super) const MINUTE_MS: u64 = 60_000;
const START_MS: u64 = 1_700_000_000_000;

pub(super) struct Testbed {
    dir: tempfile::TempDir,
    pub(super) store: Arc<SqliteStore>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) sessions: Sessions,
}

fn config(cache: Duration) -> config::Session {
    let config = config::load::from_text("").unwrap().config;
    config::Session {
        cache,
        ..config.session
    }
}

pub(super) async fn testbed() -> Testbed {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
    let clock = Arc::new(ManualClock::new(START_MS));
    Testbed {
        sessions: start_sessions(&store, &clock, Duration::from_secs(60)).await,
        dir,
        store,
        clock,
    }
}

pub(super) fn demo() -> NewSession {
    NewSession {
        account: "demo".to_owned(),
        roles: vec!["user".to_owned()],
        ..NewSession::default()
    }
}

pub(super) async fn start_sessions(
    store: &Arc<SqliteStore>,
    clock: &Arc<ManualClock>,
    cache: Duration,
) -> Sessions {
    let stores = Stores::from_single(store.clone());
    let metrics = Arc::new(Metrics::default());
    Sessions::start(stores, clock.clone(), metrics, &config(cache))
        .await
        .unwrap()
}

pub(super) async fn rejection_reason(
    outcome: impl Future<Output = Result<Arc<LiveSession>, Rejection>>,
) -> RejectReason {
    outcome.await.unwrap_err().reason
}

#[tokio::test]
async fn a_session_is_resolved_by_its_id_and_by_nothing_else() {
    let w = testbed().await;
    let (id, live) = w.sessions.create(demo()).await.unwrap();
    let found = w.sessions.resolve(id.reveal()).await.unwrap();
    assert_eq!(found, live);
    assert_eq!(
        (found.account.as_str(), found.created_at),
        ("demo", START_MS / 1000)
    );
    assert_eq!(found.expires_at, START_MS / 1000 + 36_000);
    for other in ["", "x", SessionId::generate().reveal(), &live.session_ref] {
        assert_eq!(
            rejection_reason(w.sessions.resolve(other)).await,
            RejectReason::UnknownSession
        );
    }
}

#[tokio::test]
async fn the_store_never_contains_the_id() {
    let w = testbed().await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    w.store.close().await;
    for entry in std::fs::read_dir(w.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let secret = id.reveal().as_bytes();
        assert!(!bytes.windows(secret.len()).any(|w| w == secret));
    }
}

#[tokio::test]
async fn idle_and_absolute_expiry_apply_at_read_time() {
    let w = testbed().await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    // Active every 29 minutes: only the absolute expiry applies.
    for _ in 0..20 {
        w.clock.advance_ms(29 * MINUTE_MS);
        w.sessions.resolve(id.reveal()).await.unwrap();
    }
    w.clock.advance_ms(20 * MINUTE_MS);
    assert_eq!(
        rejection_reason(w.sessions.resolve(id.reveal())).await,
        RejectReason::SessionExpired
    );

    let (id, _) = w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(30 * MINUTE_MS - 1);
    w.sessions.peek(id.reveal()).await.unwrap();
    w.clock.advance_ms(1);
    assert_eq!(
        rejection_reason(w.sessions.resolve(id.reveal())).await,
        RejectReason::SessionExpired
    );
    assert!(
        w.sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn peek_returns_the_remaining_time_and_is_not_activity() {
    let w = testbed().await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(10 * MINUTE_MS);
    for _ in 0..2 {
        let (_, left) = w.sessions.peek(id.reveal()).await.unwrap();
        assert_eq!((left.idle_s, left.absolute_s), (20 * 60, 36_000 - 600));
    }
    w.sessions.resolve(id.reveal()).await.unwrap();
    let (_, left) = w.sessions.peek(id.reveal()).await.unwrap();
    assert_eq!(left.idle_s, 30 * 60);
}

#[tokio::test]
async fn activity_survives_a_cache_invalidation_and_reaches_the_store() {
    let w = testbed().await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(MINUTE_MS);
    w.sessions.resolve(id.reveal()).await.unwrap();
    w.sessions.invalidate_all();
    let (_, left) = w.sessions.peek(id.reveal()).await.unwrap();
    assert_eq!(left.idle_s, 30 * 60);
    w.sessions.flush().await;
    let row = w.store.find(&id.hash()).await.unwrap().unwrap();
    assert_eq!(row.last_seen_at_ms, START_MS + MINUTE_MS);
}

#[tokio::test]
async fn an_ended_session_is_rejected_immediately_and_permanently() {
    let w = testbed().await;
    let (id, live) = w.sessions.create(demo()).await.unwrap();
    w.sessions.resolve(id.reveal()).await.unwrap();
    assert_eq!(
        w.sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap(),
        Some(live)
    );
    assert_eq!(
        rejection_reason(w.sessions.resolve(id.reveal())).await,
        RejectReason::UnknownSession
    );
    assert_eq!(
        w.sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap(),
        None
    );
    w.sessions.flush().await;
    assert_eq!(w.store.find(&id.hash()).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let w = testbed().await;
    let (id, live) = w.sessions.create(demo()).await.unwrap();
    drop(w.sessions);
    w.store.close().await;
    let store = Arc::new(SqliteStore::open(&w.dir.path().join("a.db")).await.unwrap());
    let again = start_sessions(&store, &w.clock, Duration::ZERO).await;
    let found = again.resolve(id.reveal()).await.unwrap();
    assert_eq!(found, live, "also under the same public name");
}

#[tokio::test]
async fn a_store_that_is_down_is_never_an_unknown_session() {
    let w = testbed().await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    w.store.close().await;
    let refusal = w.sessions.resolve(id.reveal()).await.unwrap_err();
    assert_eq!(refusal.reason, RejectReason::StoreDown);
    assert_eq!(refusal.retry_after_s, Some(1));
    assert_eq!(
        w.sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap_err()
            .reason,
        RejectReason::StoreDown
    );
    assert!(w.sessions.create(demo()).await.is_err());
    assert!(w.sessions.ready().await.is_err());
}

#[tokio::test]
async fn activity_on_another_replica_counts_in_the_last_second() {
    let w = testbed().await;
    let other = start_sessions(&w.store, &w.clock, Duration::from_secs(60)).await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    other.resolve(id.reveal()).await.unwrap();
    w.clock.advance_ms(30 * MINUTE_MS - 1);
    w.sessions.resolve(id.reveal()).await.unwrap();
    // The store's value is older than the write interval, so the new one is written immediately.
    while w.sessions.activity.latest(&id.hash()).is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    w.clock.advance_ms(1);
    other.resolve(id.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_busy_session_is_written_once_per_interval() {
    let w = testbed().await;
    let (id, _) = w.sessions.create(demo()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..300 {
        w.clock.advance_ms(1_000);
        w.sessions.resolve(id.reveal()).await.unwrap();
        let now_ms = w.clock.now_ms();
        let store = w.store.as_ref();
        w.sessions.activity.write_due(store, now_ms).await.unwrap();
        let row = w.store.find(&id.hash()).await.unwrap().unwrap();
        seen.push((row.last_seen_at_ms - START_MS) / 1000);
    }
    seen.dedup();
    assert_eq!(seen, [0, 120, 240]);
}

#[tokio::test]
async fn a_stale_row_does_not_revive_a_session_that_another_process_has_ended() {
    let w = testbed().await;
    let (id, live) = w.sessions.create(demo()).await.unwrap();
    let other = start_sessions(&w.store, &w.clock, Duration::from_secs(60)).await;
    // The row was read before its removal, and is cached after the event arrived.
    other.on_session_ended(&live.session_ref, &live.runtime, EndCause::Logout);
    assert_eq!(
        rejection_reason(other.resolve(id.reveal())).await,
        RejectReason::UnknownSession
    );
}
