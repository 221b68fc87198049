//! Child sessions with a real SQLite file and a manual clock.

use super::*;
use crate::sessions::tests::{MINUTE_MS, Testbed, demo, rejection_reason, start_sessions, testbed};
use berth_api::RejectReason;
use berth_store::{Event, EventLog, SessionRemoval, SessionStore};
use serde_json::json;

fn child() -> NewChildSession {
    NewChildSession {
        runtime: "flows".to_owned(),
        idle_timeout: None,
        claims: Map::new(),
    }
}

async fn start_child(testbed: &Testbed, parent: &LiveSession) -> (SessionId, Arc<LiveSession>) {
    let child_session = testbed
        .sessions
        .start_child(&parent.session_ref, None, child());
    child_session.await.unwrap()
}

async fn start_child_error(testbed: &Testbed, parent_ref: &str) -> ChildSessionError {
    let result = testbed
        .sessions
        .start_child(parent_ref, None, child())
        .await;
    result.unwrap_err()
}

async fn end_events(testbed: &Testbed) -> Vec<(String, EndCause)> {
    let all = testbed.store.events_after(0, 1_000).await.unwrap();
    let end = |event: Event| Some((event.session_ref, event.cause?));
    all.into_iter()
        .filter_map(|(_, event)| end(event))
        .collect()
}

async fn count_rows(testbed: &Testbed) -> usize {
    let rows = testbed
        .store
        .list(&berth_store::SessionQuery::ExpiredAt(u64::MAX / 2), 100);
    rows.await.unwrap().len()
}

#[tokio::test]
async fn a_child_has_its_parents_account_and_ends_no_later() {
    let testbed = testbed().await;
    let (_, parent) = testbed.sessions.create(demo()).await.unwrap();
    testbed.clock.advance_ms(MINUTE_MS);
    let claims = json!({"case": "A-7"}).as_object().unwrap().clone();
    let new_session = NewChildSession { claims, ..child() };
    let with_claims = testbed
        .sessions
        .start_child(&parent.session_ref, None, new_session);
    let (id, live) = with_claims.await.unwrap();
    assert_eq!(testbed.sessions.resolve(id.reveal()).await.unwrap(), live);
    assert_eq!(
        (&live.account, &live.roles, live.expires_at),
        (&parent.account, &parent.roles, parent.expires_at)
    );
    assert_eq!(live.parent_ref.as_ref(), Some(&parent.session_ref));
    assert_eq!(live.runtime, "flows");
    let (_, grandchild) = start_child(&testbed, &live).await;
    assert_eq!(grandchild.claims["case"], "A-7", "claims are inherited");
    let large = json!({"large": "x".repeat(MAX_CLAIMS_BYTES - 20)});
    let new_session = NewChildSession {
        claims: large.as_object().unwrap().clone(),
        ..child()
    };
    let rejected = testbed
        .sessions
        .start_child(&live.session_ref, None, new_session.clone());
    assert_eq!(
        rejected.await.unwrap_err(),
        ChildSessionError::TooManyClaims
    );
    let accepted = testbed
        .sessions
        .start_child(&parent.session_ref, None, new_session);
    assert!(accepted.await.is_ok());
}

#[tokio::test]
async fn three_generations_end_with_the_first_and_not_with_the_last() {
    let testbed = testbed().await;
    let (first_id, first) = testbed.sessions.create(demo()).await.unwrap();
    let (second_id, second) = start_child(&testbed, &first).await;
    let (third_id, grandchild) = start_child(&testbed, &second).await;
    let (other_id, other) = start_child(&testbed, &second).await;
    let completed = testbed
        .sessions
        .complete_child(&other.session_ref, None, json!({"sum": 7}));
    completed.await.unwrap();
    assert_eq!(
        rejection_reason(testbed.sessions.resolve(other_id.reveal())).await,
        RejectReason::UnknownSession
    );
    for id in [&first_id, &second_id, &third_id] {
        testbed.sessions.resolve(id.reveal()).await.unwrap();
    }
    let all = testbed.store.events_after(0, 100).await.unwrap();
    let (_, last_event) = all.last().unwrap();
    assert_eq!(last_event.kind, EventKind::ChildCompleted);
    assert_eq!(last_event.parent_ref.as_ref(), Some(&second.session_ref));
    assert_eq!(last_event.result, Some(json!({"sum": 7})));

    let logout = testbed
        .sessions
        .end_by_cookie(first_id.reveal(), EndCause::Logout)
        .await;
    assert!(logout.unwrap().is_some());
    for id in [&first_id, &second_id, &third_id] {
        let reason = rejection_reason(testbed.sessions.resolve(id.reveal())).await;
        assert_eq!(reason, RejectReason::UnknownSession);
    }
    let end = |live: &LiveSession, cause| (live.session_ref.clone(), cause);
    assert_eq!(
        end_events(&testbed).await,
        [
            end(&other, EndCause::Completed),
            end(&first, EndCause::Logout),
            end(&second, EndCause::ParentEnded),
            end(&grandchild, EndCause::ParentEnded),
        ]
    );
    assert_eq!(count_rows(&testbed).await, 0);
}

#[tokio::test]
async fn a_child_expires_with_its_parent() {
    let testbed = testbed().await;
    let (parent_id, parent) = testbed.sessions.create(demo()).await.unwrap();
    let long_session = NewChildSession {
        idle_timeout: Some(Duration::from_secs(5 * 3600)),
        ..child()
    };
    let child_session = testbed
        .sessions
        .start_child(&parent.session_ref, None, long_session);
    let (id, live) = child_session.await.unwrap();
    let replica = start_sessions(&testbed.store, &testbed.clock, Duration::ZERO).await;
    // Activity of the child counts as activity of the parent.
    for _ in 0..4 {
        testbed.clock.advance_ms(29 * MINUTE_MS);
        testbed.sessions.resolve(id.reveal()).await.unwrap();
    }
    testbed.sessions.peek(parent_id.reveal()).await.unwrap();
    testbed.sessions.flush().await;
    testbed.clock.advance_ms(30 * MINUTE_MS);
    for sessions in [&testbed.sessions, &replica] {
        assert_eq!(
            rejection_reason(sessions.resolve(id.reveal())).await,
            RejectReason::SessionExpired
        );
    }
    assert_eq!(
        start_child_error(&testbed, &live.session_ref).await,
        ChildSessionError::NoSuchSession
    );
    assert_eq!(
        start_child_error(&testbed, &parent.session_ref).await,
        ChildSessionError::NoSuchSession
    );
    let later = testbed
        .sessions
        .complete_child(&live.session_ref, None, Value::Null);
    assert_eq!(later.await, Err(ChildSessionError::NoSuchSession));
}

#[tokio::test]
async fn excessive_depth_and_cycles_are_rejected() {
    let testbed = testbed().await;
    let (_, mut last) = testbed.sessions.create(demo()).await.unwrap();
    for _ in 0..MAX_DEPTH {
        (_, last) = start_child(&testbed, &last).await;
    }
    assert_eq!(
        start_child_error(&testbed, &last.session_ref).await,
        ChildSessionError::TooDeep
    );
    assert_eq!(count_rows(&testbed).await, 9);
    let (id, root) = testbed.sessions.create(demo()).await.unwrap();
    let row = testbed.store.find(&id.hash()).await.unwrap().unwrap();
    for (seed, ancestors) in [
        (1, vec![IdHash([1; 32])]),
        (2, vec![row.id_hash, IdHash([2; 32])]),
        (3, vec![row.id_hash, row.id_hash]),
    ] {
        let cyclic_row = SessionRow {
            id_hash: IdHash([seed; 32]),
            session_ref: format!("circle-{seed}"),
            ancestors,
            ..row.clone()
        };
        let event = testbed.sessions.new_event(&cyclic_row, EventKind::Created);
        testbed
            .store
            .insert(&cyclic_row, None, &event)
            .await
            .unwrap();
        assert_eq!(
            start_child_error(&testbed, &cyclic_row.session_ref).await,
            ChildSessionError::Cycle
        );
        // Ending terminates on a cycle too.
        testbed
            .sessions
            .end_by_ref(&cyclic_row.session_ref, EndCause::Operator)
            .await
            .unwrap();
    }
    assert!(
        testbed
            .sessions
            .end_by_ref(&root.session_ref, EndCause::Operator)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_runtime_may_only_change_sessions_of_its_own_or_below_them() {
    let testbed = testbed().await;
    let (_, parent) = testbed.sessions.create(demo()).await.unwrap();
    let end_as = async |name: &str, parent: &LiveSession| {
        let result = testbed
            .sessions
            .start_child(&parent.session_ref, Some(name), child());
        result.await.map(|(_, live)| live)
    };
    assert_eq!(
        end_as("flows", &parent).await.unwrap_err(),
        ChildSessionError::OtherRuntime
    );
    let live = end_as("berth", &parent).await.unwrap();
    assert!(end_as("flows", &live).await.is_ok());
    assert!(end_as("berth", &live).await.is_ok(), "below its own");
    assert_eq!(
        end_as("forms", &live).await.unwrap_err(),
        ChildSessionError::OtherRuntime
    );
    let renamed = |name| {
        testbed
            .sessions
            .complete_child(&live.session_ref, Some(name), Value::Null)
    };
    assert_eq!(renamed("forms").await, Err(ChildSessionError::OtherRuntime));
    assert_eq!(renamed("flows").await, Ok(()));
    assert_eq!(
        renamed("flows").await,
        Err(ChildSessionError::NoSuchSession)
    );
    let login = testbed
        .sessions
        .complete_child(&parent.session_ref, None, Value::Null);
    assert_eq!(login.await, Err(ChildSessionError::NotAChild));
}

#[tokio::test]
async fn a_child_started_while_its_parent_ends_is_removed() {
    let testbed = testbed().await;
    let other = start_sessions(&testbed.store, &testbed.clock, Duration::ZERO).await;
    for _ in 0..30 {
        let (id, parent) = testbed.sessions.create(demo()).await.unwrap();
        let (_, end_result) = tokio::join!(
            testbed
                .sessions
                .start_child(&parent.session_ref, None, child()),
            other.end_by_cookie(id.reveal(), EndCause::Logout),
        );
        assert!(end_result.unwrap().is_some());
    }
    assert_eq!(count_rows(&testbed).await, 0);
}

#[tokio::test]
async fn children_of_a_lost_parent_are_rejected_immediately() {
    let testbed = testbed().await;
    let other = start_sessions(&testbed.store, &testbed.clock, Duration::ZERO).await;
    let (id, parent) = testbed.sessions.create(demo()).await.unwrap();
    let (child_id, live) = start_child(&testbed, &parent).await;
    let row = testbed.store.find(&id.hash()).await.unwrap().unwrap();
    let event = other.new_event(&row, EventKind::Revoked);
    let removal = SessionRemoval {
        id_hash: row.id_hash,
        only_if_expired_at_ms: None,
        event,
    };
    testbed.store.remove(&[removal]).await.unwrap();
    assert_eq!(
        rejection_reason(other.resolve(child_id.reveal())).await,
        RejectReason::UnknownSession
    );
    let completed = other.complete_child(&live.session_ref, None, Value::Null);
    assert_eq!(completed.await, Err(ChildSessionError::NoSuchSession));
    let result = other.start_child(&live.session_ref, None, child()).await;
    assert_eq!(result.unwrap_err(), ChildSessionError::NoSuchSession);
}
