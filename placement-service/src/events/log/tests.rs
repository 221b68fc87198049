//! Which events a reader sees, and that a shutdown ends its wait.

use super::*;
use crate::config;
use crate::core::clock::SystemClock;
use crate::core::metrics::Metrics;
use crate::sessions::{NewChildSession, NewSession};
use berth_store::SessionStore;
use berth_store::conformance::session_row;
use berth_store::sqlite::SqliteStore;
use berth_store::{EndCause, EventKind};

const MINUTE: Duration = Duration::from_secs(60);

struct Testbed {
    _dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    sessions: Arc<Sessions>,
    events: EventLogReader,
    /// Stands for the follower of the log: a change wakes the readers.
    newest: watch::Sender<u64>,
}

async fn testbed() -> Testbed {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
    let stores = Stores::from_single(store.clone());
    let config = config::load::from_text("").unwrap().config.session;
    let metrics = Arc::new(Metrics::default());
    let sessions = Sessions::start(stores.clone(), Arc::new(SystemClock), metrics, &config);
    let (newest, appended) = watch::channel(0);
    let sessions = Arc::new(sessions.await.unwrap());
    Testbed {
        events: EventLogReader::open(&stores, sessions.clone(), appended)
            .await
            .unwrap(),
        _dir: dir,
        store,
        sessions,
        newest,
    }
}

fn query(testbed: &Testbed, reader: Reader, wait: Duration) -> Query {
    let log = testbed.events.id();
    Query {
        reader,
        cursor: Some(Cursor { log, sequence: 0 }),
        session: None,
        wait,
        limit: 10,
    }
}

fn event(name: &str, runtime: &str, parent: Option<&str>) -> Event {
    Event {
        at_ms: 1,
        kind: EventKind::Created,
        session_ref: name.to_owned(),
        provider: None,
        account: "demo".to_owned(),
        runtime: runtime.to_owned(),
        cause: None,
        parent_ref: parent.map(str::to_owned),
        previous_ref: None,
        result: None,
        moved: None,
    }
}

#[tokio::test]
async fn a_runtime_reads_events_of_its_sessions_and_of_their_child_sessions() {
    let testbed = testbed().await;
    let mut parent = session_row(1);
    parent.runtime = "flows".to_owned();
    let created = event(&parent.session_ref, "flows", None);
    testbed.store.insert(&parent, None, &created).await.unwrap();
    let of_child = event("child", "forms", Some(&parent.session_ref));
    let of_unknown_parent = event("other", "forms", Some("gone"));
    let all = [of_child, of_unknown_parent, event("own", "forms", None)];
    testbed.store.append(&all).await.unwrap();
    for (runtime, expected) in [
        ("flows", vec![parent.session_ref.as_str(), "child"]),
        ("forms", vec!["child", "other", "own"]),
        ("others", vec![]),
    ] {
        let reader = Reader::Runtime(runtime.to_owned());
        let query = query(&testbed, reader, Duration::ZERO);
        let page = testbed.events.read(&query).await.unwrap();
        let session_refs: Vec<_> = page.events.iter().map(|t| &t.event.session_ref).collect();
        assert_eq!(session_refs, expected, "{runtime}");
        assert!(page.cursor.ends_with("-4"));
    }
    let family = Query {
        session: Some(parent.session_ref.clone()),
        ..query(&testbed, Reader::Operator, Duration::ZERO)
    };
    assert_eq!(testbed.events.read(&family).await.unwrap().events.len(), 2);
}

#[tokio::test]
async fn a_runtime_reads_the_end_of_a_child_session_after_the_end_of_its_parent() {
    let ending_replica = testbed().await;
    let (_, parent) = ending_replica
        .sessions
        .create(NewSession::default())
        .await
        .unwrap();
    let child = NewChildSession {
        runtime: "flows".to_owned(),
        idle_timeout: None,
        claims: serde_json::Map::new(),
    };
    let child = ending_replica
        .sessions
        .start_child(&parent.session_ref, None, child);
    let (_, child) = child.await.unwrap();
    let end = ending_replica
        .sessions
        .end_by_ref(&parent.session_ref, EndCause::Operator);
    assert!(end.await.unwrap());
    let reader = Reader::Runtime("berth".to_owned());
    let page = ending_replica
        .events
        .read(&query(&ending_replica, reader, Duration::ZERO))
        .await;
    let page = page.unwrap();
    let end_events = page.events.iter().filter_map(|entry| {
        let event = &entry.event;
        event.cause.map(|cause| (event.session_ref.as_str(), cause))
    });
    let end_events: Vec<_> = end_events.collect();
    assert_eq!(
        end_events,
        [
            (parent.session_ref.as_str(), EndCause::Operator),
            (child.session_ref.as_str(), EndCause::ParentEnded),
        ]
    );
    // Another replica that has read only the end of the parent still knows the parent's runtime.
    let other_replica = testbed().await;
    let sessions = &other_replica.sessions;
    sessions.on_session_ended(&parent.session_ref, "berth", EndCause::Operator);
    let runtime = sessions.runtime_of(&parent.session_ref).await.unwrap();
    assert_eq!(runtime.as_deref(), Some("berth"));
}

#[tokio::test]
async fn events_of_other_runtimes_do_not_end_the_wait() {
    let testbed = testbed().await;
    let reader = Reader::Runtime("flows".to_owned());
    let query = query(&testbed, reader, MINUTE);
    let append = async {
        for name in ["one", "two"] {
            testbed
                .store
                .append(&[event(name, "others", None)])
                .await
                .unwrap();
            testbed.newest.send_modify(|newest| *newest += 1);
            tokio::task::yield_now().await;
        }
        testbed
            .store
            .append(&[event("mine", "flows", None)])
            .await
            .unwrap();
        testbed.newest.send_modify(|newest| *newest += 1);
    };
    let (page, ()) = tokio::join!(testbed.events.read(&query), append);
    let page = page.unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].event.session_ref, "mine");
    assert!(page.cursor.ends_with("-3"));
}

#[tokio::test]
async fn a_shutdown_ends_the_wait() {
    let testbed = testbed().await;
    let query = query(&testbed, Reader::Operator, MINUTE);
    let end = async {
        tokio::task::yield_now().await;
        testbed.events.shut_down();
    };
    let page = async { tokio::join!(testbed.events.read(&query), end) };
    let (page, ()) = tokio::time::timeout(MINUTE / 6, page).await.unwrap();
    assert_eq!(page.unwrap().events, []);
}
