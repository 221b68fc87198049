//! Whose events they are, and that nobody waits for a service that ends.

use super::*;
use crate::clock::SystemClock;
use crate::config;
use crate::metrics::Metrics;
use crate::store::EventKind;
use crate::store::SessionStore;
use crate::store::contract::session_row;
use crate::store::sqlite::SqliteStore;

const MINUTE: Duration = Duration::from_secs(60);

struct World {
    _dir: tempfile::TempDir,
    store: Arc<SqliteStore>,
    events: Events,
    /// Rings as the feed does.
    newest: watch::Sender<u64>,
}

async fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(&dir.path().join("a.db")).await.unwrap());
    let stores = Stores::whole(store.clone());
    let config = config::load::from_text("").unwrap().config.session;
    let metrics = Arc::new(Metrics::default());
    let sessions = Sessions::start(stores.clone(), Arc::new(SystemClock), metrics, &config);
    let (newest, news) = watch::channel(0);
    let sessions = Arc::new(sessions.await.unwrap());
    World {
        events: Events::open(&stores, sessions, news).await.unwrap(),
        _dir: dir,
        store,
        newest,
    }
}

fn query(w: &World, reader: Reader, wait: Duration) -> Query {
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
async fn a_runtime_hears_of_its_sessions_and_of_those_that_they_started() {
    let w = world().await;
    let mut parent = session_row(1);
    parent.runtime = "flows".to_owned();
    let begun = event(&parent.session_ref, "flows", None);
    w.store.insert(&parent, None, &begun).await.unwrap();
    let of_parent = event("child", "forms", Some(&parent.session_ref));
    let of_nobody = event("other", "forms", Some("gone"));
    let all = [of_parent, of_nobody, event("own", "forms", None)];
    w.store.append(&all).await.unwrap();
    for (runtime, heard) in [
        ("flows", vec![parent.session_ref.as_str(), "child"]),
        ("forms", vec!["child", "other", "own"]),
        ("others", vec![]),
    ] {
        let reader = Reader::Runtime(runtime.to_owned());
        let query = query(&w, reader, Duration::ZERO);
        let page = w.events.read(&query).await.unwrap();
        let told: Vec<_> = page.events.iter().map(|t| &t.event.session_ref).collect();
        assert_eq!(told, heard, "{runtime}");
        assert!(page.cursor.ends_with("-4"));
    }
    let family = Query {
        session: Some(parent.session_ref.clone()),
        ..query(&w, Reader::Operator, Duration::ZERO)
    };
    assert_eq!(w.events.read(&family).await.unwrap().events.len(), 2);
}

#[tokio::test]
async fn what_concerns_nobody_wakes_nobody() {
    let w = world().await;
    let reader = Reader::Runtime("flows".to_owned());
    let query = query(&w, reader, MINUTE);
    let wrote = async {
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
    let (page, ()) = tokio::join!(w.events.read(&query), wrote);
    let page = page.unwrap();
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].event.session_ref, "mine");
    assert!(page.cursor.ends_with("-3"));
}

#[tokio::test]
async fn a_service_that_ends_lets_nobody_wait() {
    let w = world().await;
    let query = query(&w, Reader::Operator, MINUTE);
    let end = async {
        tokio::task::yield_now().await;
        w.events.end();
    };
    let page = async { tokio::join!(w.events.read(&query), end) };
    let (page, ()) = tokio::time::timeout(MINUTE / 6, page).await.unwrap();
    assert_eq!(page.unwrap().events, []);
}
