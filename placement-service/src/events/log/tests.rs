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
    let (newest, news) = watch::channel(0);
    let sessions = Arc::new(sessions.await.unwrap());
    Testbed {
        events: EventLogReader::open(&stores, sessions.clone(), news)
            .await
            .unwrap(),
        _dir: dir,
        store,
        sessions,
        newest,
    }
}

fn query(w: &Testbed, reader: Reader, wait: Duration) -> Query {
    let log = w.events.id();
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
        account: "demo".to_owned(),
        runtime: runtime.to_owned(),
        cause: None,
        parent_ref: parent.map(str::to_owned),
        previous_ref: None,
        result: None,
    }
}

#[tokio::test]
async fn a_runtime_reads_events_of_its_sessions_and_of_their_child_sessions() {
    let w = testbed().await;
    let mut parent = session_row(1);
    parent.runtime = "flows".to_owned();
    let created = event(&parent.session_ref, "flows", None);
    w.store.insert(&parent, None, &created).await.unwrap();
    let of_child = event("child", "forms", Some(&parent.session_ref));
    let of_unknown_parent = event("other", "forms", Some("gone"));
    let all = [of_child, of_unknown_parent, event("own", "forms", None)];
    w.store.append(&all).await.unwrap();
    for (runtime, expected) in [
        ("flows", vec![parent.session_ref.as_str(), "child"]),
        ("forms", vec!["child", "other", "own"]),
        ("others", vec![]),
    ] {
        let reader = Reader::Runtime(runtime.to_owned());
        let query = query(&w, reader, Duration::ZERO);
        let page = w.events.read(&query).await.unwrap();
        let read: Vec<_> = page.events.iter().map(|t| &t.event.session_ref).collect();
        assert_eq!(read, expected, "{runtime}");
        assert!(page.cursor.ends_with("-4"));
    }
    let family = Query {
        session: Some(parent.session_ref.clone()),
        ..query(&w, Reader::Operator, Duration::ZERO)
    };
    assert_eq!(w.events.read(&family).await.unwrap().events.len(), 2);
}

#[tokio::test]
async fn a_runtime_reads_the_end_of_a_child_session_after_the_end_of_its_parent() {
    let here = testbed().await;
    let (_, parent) = here.sessions.create(NewSession::default()).await.unwrap();
    let child = NewChildSession {
        runtime: "flows".to_owned(),
        idle_timeout: None,
        claims: serde_json::Map::new(),
    };
    let child = here.sessions.start_child(&parent.session_ref, None, child);
    let (_, child) = child.await.unwrap();
    let end = here
        .sessions
        .end_by_ref(&parent.session_ref, EndCause::Operator);
    assert!(end.await.unwrap());
    let reader = Reader::Runtime("berth".to_owned());
    let page = here
        .events
        .read(&query(&here, reader, Duration::ZERO))
        .await;
    let page = page.unwrap();
    let ends = page.events.iter().filter_map(|told| {
        let event = &told.event;
        event.cause.map(|cause| (event.session_ref.as_str(), cause))
    });
    let ends: Vec<_> = ends.collect();
    assert_eq!(
        ends,
        [
            (parent.session_ref.as_str(), EndCause::Operator),
            (child.session_ref.as_str(), EndCause::ParentEnded),
        ]
    );
    // Another replica that has read only the end of the parent still knows the parent's runtime.
    let there = testbed().await;
    let sessions = &there.sessions;
    sessions.on_session_ended(&parent.session_ref, "berth", EndCause::Operator);
    let runtime = sessions.runtime_of(&parent.session_ref).await.unwrap();
    assert_eq!(runtime.as_deref(), Some("berth"));
}

#[tokio::test]
async fn events_of_other_runtimes_do_not_end_the_wait() {
    let w = testbed().await;
    let reader = Reader::Runtime("flows".to_owned());
    let query = query(&w, reader, MINUTE);
    let append = async {
        for name in ["one", "two"] {
            w.store
                .append(&[event(name, "others", None)])
                .await
                .unwrap();
            w.newest.send_modify(|newest| *newest += 1);
            tokio::task::yield_now().await;
        }
        w.store
            .append(&[event("mine", "flows", None)])
            .await
            .unwrap();
        w.newest.send_modify(|newest| *newest += 1);
    };
    let (page, ()) = tokio::join!(w.events.read(&query), append);
    let page = page.unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].event.session_ref, "mine");
    assert!(page.cursor.ends_with("-3"));
}

#[tokio::test]
async fn a_shutdown_ends_the_wait() {
    let w = testbed().await;
    let query = query(&w, Reader::Operator, MINUTE);
    let end = async {
        tokio::task::yield_now().await;
        w.events.shut_down();
    };
    let page = async { tokio::join!(w.events.read(&query), end) };
    let (page, ()) = tokio::time::timeout(MINUTE / 6, page).await.unwrap();
    assert_eq!(page.unwrap().events, []);
}
