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
    let testbed = testbed().await;
    let (id, live) = testbed.sessions.create(demo()).await.unwrap();
    let session = testbed.sessions.resolve(id.reveal()).await.unwrap();
    assert_eq!(session, live);
    assert_eq!(
        (session.account.as_str(), session.created_at),
        ("demo", START_MS / 1000)
    );
    assert_eq!(session.expires_at, START_MS / 1000 + 36_000);
    for other in ["", "x", SessionId::generate().reveal(), &live.session_ref] {
        assert_eq!(
            rejection_reason(testbed.sessions.resolve(other)).await,
            RejectReason::UnknownSession
        );
    }
}

#[tokio::test]
async fn the_store_never_contains_the_id() {
    let testbed = testbed().await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.store.close().await;
    for entry in std::fs::read_dir(testbed.dir.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let secret = id.reveal().as_bytes();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret));
    }
}

#[tokio::test]
async fn idle_and_absolute_expiry_apply_at_read_time() {
    let testbed = testbed().await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    // Active every 29 minutes: only the absolute expiry applies.
    for _ in 0..20 {
        testbed.clock.advance_ms(29 * MINUTE_MS);
        testbed.sessions.resolve(id.reveal()).await.unwrap();
    }
    testbed.clock.advance_ms(20 * MINUTE_MS);
    assert_eq!(
        rejection_reason(testbed.sessions.resolve(id.reveal())).await,
        RejectReason::SessionExpired
    );

    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(30 * MINUTE_MS - 1);
    testbed.sessions.peek(id.reveal()).await.unwrap();
    testbed.clock.advance_ms(1);
    assert_eq!(
        rejection_reason(testbed.sessions.resolve(id.reveal())).await,
        RejectReason::SessionExpired
    );
    assert!(
        testbed
            .sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn peek_returns_the_remaining_time_and_is_not_activity() {
    let testbed = testbed().await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(10 * MINUTE_MS);
    for _ in 0..2 {
        let (_, remaining) = testbed.sessions.peek(id.reveal()).await.unwrap();
        assert_eq!(
            (remaining.idle_s, remaining.absolute_s),
            (20 * 60, 36_000 - 600)
        );
    }
    testbed.sessions.resolve(id.reveal()).await.unwrap();
    let (_, remaining) = testbed.sessions.peek(id.reveal()).await.unwrap();
    assert_eq!(remaining.idle_s, 30 * 60);
}

#[tokio::test]
async fn activity_survives_a_cache_invalidation_and_reaches_the_store() {
    let testbed = testbed().await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(MINUTE_MS);
    testbed.sessions.resolve(id.reveal()).await.unwrap();
    testbed.sessions.invalidate_all();
    let (_, remaining) = testbed.sessions.peek(id.reveal()).await.unwrap();
    assert_eq!(remaining.idle_s, 30 * 60);
    testbed.sessions.flush().await;
    let row = testbed.store.find(&id.hash()).await.unwrap().unwrap();
    assert_eq!(row.last_seen_at_ms, START_MS + MINUTE_MS);
}

#[tokio::test]
async fn an_ended_session_is_rejected_immediately_and_permanently() {
    let testbed = testbed().await;
    let (id, live) = testbed.sessions.create(demo()).await.unwrap();
    testbed.sessions.resolve(id.reveal()).await.unwrap();
    assert_eq!(
        testbed
            .sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap(),
        Some(live)
    );
    assert_eq!(
        rejection_reason(testbed.sessions.resolve(id.reveal())).await,
        RejectReason::UnknownSession
    );
    assert_eq!(
        testbed
            .sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap(),
        None
    );
    testbed.sessions.flush().await;
    assert_eq!(testbed.store.find(&id.hash()).await.unwrap(), None);
}

#[tokio::test]
async fn a_session_survives_a_restart() {
    let testbed = testbed().await;
    let (id, live) = testbed.sessions.create(demo()).await.unwrap();
    drop(testbed.sessions);
    testbed.store.close().await;
    let store = Arc::new(
        SqliteStore::open(&testbed.dir.path().join("a.db"))
            .await
            .unwrap(),
    );
    let restarted = start_sessions(&store, &testbed.clock, Duration::ZERO).await;
    let session = restarted.resolve(id.reveal()).await.unwrap();
    assert_eq!(session, live, "also under the same public name");
}

#[tokio::test]
async fn a_store_that_is_down_is_never_an_unknown_session() {
    let testbed = testbed().await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    testbed.store.close().await;
    let rejection = testbed.sessions.resolve(id.reveal()).await.unwrap_err();
    assert_eq!(rejection.reason, RejectReason::StoreDown);
    assert_eq!(rejection.retry_after_s, Some(1));
    assert_eq!(
        testbed
            .sessions
            .end_by_cookie(id.reveal(), EndCause::Logout)
            .await
            .unwrap_err()
            .reason,
        RejectReason::StoreDown
    );
    assert!(testbed.sessions.create(demo()).await.is_err());
    assert!(testbed.sessions.ready().await.is_err());
}

#[tokio::test]
async fn activity_on_another_replica_counts_in_the_last_second() {
    let testbed = testbed().await;
    let other = start_sessions(&testbed.store, &testbed.clock, Duration::from_secs(60)).await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    other.resolve(id.reveal()).await.unwrap();
    testbed.clock.advance_ms(30 * MINUTE_MS - 1);
    testbed.sessions.resolve(id.reveal()).await.unwrap();
    // The store's value is older than the write interval, so the new one is written immediately.
    while testbed.sessions.activity.latest(&id.hash()).is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    testbed.clock.advance_ms(1);
    other.resolve(id.reveal()).await.unwrap();
}

#[tokio::test]
async fn a_busy_session_is_written_once_per_interval() {
    let testbed = testbed().await;
    let (id, _) = testbed.sessions.create(demo()).await.unwrap();
    let mut written = Vec::new();
    for _ in 0..300 {
        testbed.clock.advance_ms(1_000);
        testbed.sessions.resolve(id.reveal()).await.unwrap();
        let now_ms = testbed.clock.now_ms();
        let store = testbed.store.as_ref();
        testbed
            .sessions
            .activity
            .write_due(store, now_ms)
            .await
            .unwrap();
        let row = testbed.store.find(&id.hash()).await.unwrap().unwrap();
        written.push((row.last_seen_at_ms - START_MS) / 1000);
    }
    written.dedup();
    assert_eq!(written, [0, 120, 240]);
}

#[tokio::test]
async fn a_stale_row_does_not_revive_a_session_that_another_process_has_ended() {
    let testbed = testbed().await;
    let (id, live) = testbed.sessions.create(demo()).await.unwrap();
    let other = start_sessions(&testbed.store, &testbed.clock, Duration::from_secs(60)).await;
    // The row was read before its removal, and is cached after the event arrived.
    other.on_session_ended(&live.session_ref, &live.runtime, EndCause::Logout);
    assert_eq!(
        rejection_reason(other.resolve(id.reveal())).await,
        RejectReason::UnknownSession
    );
}
