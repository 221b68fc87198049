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

async fn start_child(w: &Testbed, parent: &LiveSession) -> (SessionId, Arc<LiveSession>) {
    let started = w.sessions.start_child(&parent.session_ref, None, child());
    started.await.unwrap()
}

async fn start_child_error(w: &Testbed, parent_ref: &str) -> ChildSessionError {
    let started = w.sessions.start_child(parent_ref, None, child()).await;
    started.unwrap_err()
}

async fn end_events(w: &Testbed) -> Vec<(String, EndCause)> {
    let all = w.store.events_after(0, 1_000).await.unwrap();
    let end = |event: Event| Some((event.session_ref, event.cause?));
    all.into_iter()
        .filter_map(|(_, event)| end(event))
        .collect()
}

async fn count_rows(w: &Testbed) -> usize {
    let rows = w
        .store
        .list(&berth_store::SessionQuery::ExpiredAt(u64::MAX / 2), 100);
    rows.await.unwrap().len()
}

#[tokio::test]
async fn a_child_has_its_parents_account_and_ends_no_later() {
    let w = testbed().await;
    let (_, parent) = w.sessions.create(demo()).await.unwrap();
    w.clock.advance_ms(MINUTE_MS);
    let claims = json!({"case": "A-7"}).as_object().unwrap().clone();
    let new = NewChildSession { claims, ..child() };
    let with_claims = w.sessions.start_child(&parent.session_ref, None, new);
    let (id, live) = with_claims.await.unwrap();
    assert_eq!(w.sessions.resolve(id.reveal()).await.unwrap(), live);
    assert_eq!(
        (&live.account, &live.roles, live.expires_at),
        (&parent.account, &parent.roles, parent.expires_at)
    );
    assert_eq!(live.parent_ref.as_ref(), Some(&parent.session_ref));
    assert_eq!(live.runtime, "flows");
    let (_, grandchild) = start_child(&w, &live).await;
    assert_eq!(grandchild.claims["case"], "A-7", "claims are inherited");
    let large = json!({"large": "x".repeat(MAX_CLAIMS_BYTES - 20)});
    let new = NewChildSession {
        claims: large.as_object().unwrap().clone(),
        ..child()
    };
    let much = w.sessions.start_child(&live.session_ref, None, new.clone());
    assert_eq!(much.await.unwrap_err(), ChildSessionError::TooManyClaims);
    let alone = w.sessions.start_child(&parent.session_ref, None, new);
    assert!(alone.await.is_ok());
}

#[tokio::test]
async fn three_generations_end_with_the_first_and_not_with_the_last() {
    let w = testbed().await;
    let (first_id, first) = w.sessions.create(demo()).await.unwrap();
    let (second_id, second) = start_child(&w, &first).await;
    let (third_id, third) = start_child(&w, &second).await;
    let (other_id, other) = start_child(&w, &second).await;
    let completed = w
        .sessions
        .complete_child(&other.session_ref, None, json!({"sum": 7}));
    completed.await.unwrap();
    assert_eq!(
        rejection_reason(w.sessions.resolve(other_id.reveal())).await,
        RejectReason::UnknownSession
    );
    for id in [&first_id, &second_id, &third_id] {
        w.sessions.resolve(id.reveal()).await.unwrap();
    }
    let all = w.store.events_after(0, 100).await.unwrap();
    let (_, told) = all.last().unwrap();
    assert_eq!(told.kind, EventKind::ChildCompleted);
    assert_eq!(told.parent_ref.as_ref(), Some(&second.session_ref));
    assert_eq!(told.result, Some(json!({"sum": 7})));

    let logout = w
        .sessions
        .end_by_cookie(first_id.reveal(), EndCause::Logout)
        .await;
    assert!(logout.unwrap().is_some());
    for id in [&first_id, &second_id, &third_id] {
        let gone = rejection_reason(w.sessions.resolve(id.reveal())).await;
        assert_eq!(gone, RejectReason::UnknownSession);
    }
    let end = |live: &LiveSession, cause| (live.session_ref.clone(), cause);
    assert_eq!(
        end_events(&w).await,
        [
            end(&other, EndCause::Completed),
            end(&first, EndCause::Logout),
            end(&second, EndCause::ParentEnded),
            end(&third, EndCause::ParentEnded),
        ]
    );
    assert_eq!(count_rows(&w).await, 0);
}

#[tokio::test]
async fn a_child_expires_with_its_parent() {
    let w = testbed().await;
    let (parent_id, parent) = w.sessions.create(demo()).await.unwrap();
    let long = NewChildSession {
        idle_timeout: Some(Duration::from_secs(5 * 3600)),
        ..child()
    };
    let started = w.sessions.start_child(&parent.session_ref, None, long);
    let (id, live) = started.await.unwrap();
    let replica = start_sessions(&w.store, &w.clock, Duration::ZERO).await;
    // Activity of the child counts as activity of the parent.
    for _ in 0..4 {
        w.clock.advance_ms(29 * MINUTE_MS);
        w.sessions.resolve(id.reveal()).await.unwrap();
    }
    w.sessions.peek(parent_id.reveal()).await.unwrap();
    w.sessions.flush().await;
    w.clock.advance_ms(30 * MINUTE_MS);
    for sessions in [&w.sessions, &replica] {
        assert_eq!(
            rejection_reason(sessions.resolve(id.reveal())).await,
            RejectReason::SessionExpired
        );
    }
    assert_eq!(
        start_child_error(&w, &live.session_ref).await,
        ChildSessionError::NoSuchSession
    );
    assert_eq!(
        start_child_error(&w, &parent.session_ref).await,
        ChildSessionError::NoSuchSession
    );
    let late = w
        .sessions
        .complete_child(&live.session_ref, None, Value::Null);
    assert_eq!(late.await, Err(ChildSessionError::NoSuchSession));
}

#[tokio::test]
async fn excessive_depth_and_cycles_are_rejected() {
    let w = testbed().await;
    let (_, mut last) = w.sessions.create(demo()).await.unwrap();
    for _ in 0..MAX_DEPTH {
        (_, last) = start_child(&w, &last).await;
    }
    assert_eq!(
        start_child_error(&w, &last.session_ref).await,
        ChildSessionError::TooDeep
    );
    assert_eq!(count_rows(&w).await, 9);
    let (id, one) = w.sessions.create(demo()).await.unwrap();
    let row = w.store.find(&id.hash()).await.unwrap().unwrap();
    for (seed, ancestors) in [
        (1, vec![IdHash([1; 32])]),
        (2, vec![row.id_hash, IdHash([2; 32])]),
        (3, vec![row.id_hash, row.id_hash]),
    ] {
        let circle = SessionRow {
            id_hash: IdHash([seed; 32]),
            session_ref: format!("circle-{seed}"),
            ancestors,
            ..row.clone()
        };
        let event = w.sessions.new_event(&circle, EventKind::Created);
        w.store.insert(&circle, None, &event).await.unwrap();
        assert_eq!(
            start_child_error(&w, &circle.session_ref).await,
            ChildSessionError::Cycle
        );
        // Ending terminates on a cycle too.
        w.sessions
            .end_by_ref(&circle.session_ref, EndCause::Operator)
            .await
            .unwrap();
    }
    assert!(
        w.sessions
            .end_by_ref(&one.session_ref, EndCause::Operator)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_runtime_may_only_change_sessions_of_its_own_or_below_them() {
    let w = testbed().await;
    let (_, parent) = w.sessions.create(demo()).await.unwrap();
    let by = async |name: &str, parent: &LiveSession| {
        let by = w
            .sessions
            .start_child(&parent.session_ref, Some(name), child());
        by.await.map(|(_, live)| live)
    };
    assert_eq!(
        by("flows", &parent).await.unwrap_err(),
        ChildSessionError::OtherRuntime
    );
    let live = by("berth", &parent).await.unwrap();
    assert!(by("flows", &live).await.is_ok());
    assert!(by("berth", &live).await.is_ok(), "below its own");
    assert_eq!(
        by("forms", &live).await.unwrap_err(),
        ChildSessionError::OtherRuntime
    );
    let done = |name| {
        w.sessions
            .complete_child(&live.session_ref, Some(name), Value::Null)
    };
    assert_eq!(done("forms").await, Err(ChildSessionError::OtherRuntime));
    assert_eq!(done("flows").await, Ok(()));
    assert_eq!(done("flows").await, Err(ChildSessionError::NoSuchSession));
    let login = w
        .sessions
        .complete_child(&parent.session_ref, None, Value::Null);
    assert_eq!(login.await, Err(ChildSessionError::NotAChild));
}

#[tokio::test]
async fn a_child_started_while_its_parent_ends_is_removed() {
    let w = testbed().await;
    let other = start_sessions(&w.store, &w.clock, Duration::ZERO).await;
    for _ in 0..30 {
        let (id, parent) = w.sessions.create(demo()).await.unwrap();
        let (_, ended) = tokio::join!(
            w.sessions.start_child(&parent.session_ref, None, child()),
            other.end_by_cookie(id.reveal(), EndCause::Logout),
        );
        assert!(ended.unwrap().is_some());
    }
    assert_eq!(count_rows(&w).await, 0);
}

#[tokio::test]
async fn children_of_a_lost_parent_are_rejected_immediately() {
    let w = testbed().await;
    let other = start_sessions(&w.store, &w.clock, Duration::ZERO).await;
    let (id, parent) = w.sessions.create(demo()).await.unwrap();
    let (child_id, live) = start_child(&w, &parent).await;
    let row = w.store.find(&id.hash()).await.unwrap().unwrap();
    let event = other.new_event(&row, EventKind::Revoked);
    let lost = SessionRemoval {
        id_hash: row.id_hash,
        only_if_expired_at_ms: None,
        event,
    };
    w.store.remove(&[lost]).await.unwrap();
    assert_eq!(
        rejection_reason(other.resolve(child_id.reveal())).await,
        RejectReason::UnknownSession
    );
    let completed = other.complete_child(&live.session_ref, None, Value::Null);
    assert_eq!(completed.await, Err(ChildSessionError::NoSuchSession));
    let started = other.start_child(&live.session_ref, None, child()).await;
    assert_eq!(started.unwrap_err(), ChildSessionError::NoSuchSession);
}
