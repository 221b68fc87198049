//! Sessions on a paused clock.

use super::*;
use std::time::Duration;
use tokio::time::sleep;

fn header_key(id: &str) -> SessionKey {
    SessionKey::Header(id.to_owned())
}

fn attach(
    sessions: &Arc<Sessions>,
    id: &str,
    user: &str,
    ttl: Option<u64>,
) -> Result<Attachment, &'static str> {
    sessions.attach(AttachRequest {
        key: header_key(id),
        user: user.to_owned(),
        ttl,
        limit: Some(2),
    })
}

/// Sleeps on the paused clock, so that waits which end earlier run.
async fn advance_clock(seconds: f64) {
    sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_ttl_a_session_ends_with_its_last_socket() {
    let sessions = Arc::new(Sessions::new(1_800));
    let first = attach(&sessions, "a", "ann", None).unwrap();
    let second = attach(&sessions, "a", "ann", None).unwrap();
    assert!(first.created && !second.created);
    drop(first);
    assert_eq!(sessions.count().sessions, 1);
    drop(second);
    assert_eq!(
        sessions.count(),
        SessionCounts {
            created: 1,
            attached: 1,
            users_total: 1,
            ..SessionCounts::default()
        }
    );
}

#[tokio::test(start_paused = true)]
async fn the_latest_ttl_holds_from_the_last_close() {
    let sessions = Arc::new(Sessions::new(1_800));
    drop(attach(&sessions, "a", "ann", Some(10)).unwrap());
    advance_clock(9.9).await;
    let reattached = attach(&sessions, "a", "ann", Some(60)).unwrap();
    advance_clock(30.0).await;
    assert_eq!(sessions.count().waiting, 0);
    drop(reattached);
    advance_clock(59.9).await;
    assert_eq!(
        (sessions.count().sessions, sessions.count().waiting),
        (1, 1)
    );
    advance_clock(0.2).await;
    assert_eq!(
        (sessions.count().sessions, sessions.count().waiting),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_attach_without_a_ttl_keeps_the_previous_one() {
    let sessions = Arc::new(Sessions::new(1_800));
    drop(attach(&sessions, "a", "ann", Some(10)).unwrap());
    drop(attach(&sessions, "a", "ann", None).unwrap());
    advance_clock(9.9).await;
    assert_eq!(sessions.count().sessions, 1);
    advance_clock(0.2).await;
    assert_eq!(sessions.count().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_ttl_is_capped() {
    let sessions = Arc::new(Sessions::new(20));
    drop(attach(&sessions, "a", "ann", Some(100_000)).unwrap());
    assert_eq!(sessions.list()[0].ttl, 20);
    advance_clock(20.1).await;
    assert_eq!(sessions.count().sessions, 0);
}

#[tokio::test(start_paused = true)]
async fn another_user_cannot_attach_and_a_limit_holds() {
    let sessions = Arc::new(Sessions::new(1_800));
    let _one = attach(&sessions, "a", "ann", None).unwrap();
    assert_eq!(attach(&sessions, "a", "bob", None).err(), Some(OTHER_USER));
    let _two = attach(&sessions, "b", "bob", None).unwrap();
    assert_eq!(
        attach(&sessions, "c", "bob", None).err(),
        Some(LIMIT_EXCEEDED)
    );
    let third = attach(&sessions, "b", "bob", None).unwrap();
    assert!(!third.created, "the limit is on new sessions");
    assert_eq!(sessions.count().users, 2);
}

#[tokio::test(start_paused = true)]
async fn documents_count_sessions_and_their_sockets() {
    let sessions = Arc::new(Sessions::new(1_800));
    let document = OpenApp::Document("a.qvf".to_owned());
    let first = attach(&sessions, "a", "ann", Some(10)).unwrap();
    assert_eq!(first.open(document.clone()), Some(document.clone()));
    let other = OpenApp::SessionApp("other".to_owned());
    assert_eq!(
        first.open(other),
        Some(document.clone()),
        "one app per session"
    );
    let second = attach(&sessions, "a", "ann", None).unwrap();
    assert_eq!(second.app(), Some(document));
    assert_eq!(sessions.count().documents, [("a.qvf".to_owned(), 2)]);
    drop((first, second));
    assert_eq!(sessions.count().documents, [("a.qvf".to_owned(), 0)]);
    advance_clock(10.1).await;
    assert_eq!(sessions.count().documents, []);
}
