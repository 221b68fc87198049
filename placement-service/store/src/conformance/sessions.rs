//! Sessions: rows are read back unchanged, touches only move forward, and removed sessions stay removed.

use super::{event, removal, session_row};
use crate::session_id::{IdHash, SessionId};
use crate::{
    EndCause, Event, EventLog, InsertResult, SessionQuery, SessionRemoval, SessionRow,
    SessionStore, StoreError,
};

async fn insert(store: &impl SessionStore, row: &SessionRow) -> Result<InsertResult, StoreError> {
    store.insert(row, None, &event(row, None)).await
}

async fn log(store: &impl EventLog) -> Vec<Event> {
    let all = store.events_after(0, 1_000).await.unwrap();
    all.into_iter().map(|(_, event)| event).collect()
}

/// Checks inserting, finding, touching and removing sessions, and their events.
pub async fn sessions(store: &(impl SessionStore + EventLog)) {
    let row = session_row(1);
    let other = SessionRow {
        ancestors: Vec::new(),
        roles: Vec::new(),
        claims: serde_json::Map::new(),
        provider: None,
        ..session_row(2)
    };
    assert_eq!(store.find(&row.id_hash).await.unwrap(), None);
    assert_eq!(insert(store, &row).await.unwrap(), InsertResult::Inserted);
    assert_eq!(insert(store, &other).await.unwrap(), InsertResult::Inserted);
    assert_eq!(store.find(&row.id_hash).await.unwrap(), Some(row.clone()));
    let found = store.find_by_ref(&other.session_ref).await.unwrap();
    assert_eq!(found, Some(other.clone()));
    assert_eq!(store.find_by_ref("ref-3").await.unwrap(), None);
    assert!(insert(store, &row).await.is_err(), "an id is unique");

    let id = SessionId::generate();
    let named = SessionRow {
        id_hash: id.hash(),
        ..session_row(3)
    };
    insert(store, &named).await.unwrap();
    let found = store.find_by_cookie(id.reveal()).await.unwrap();
    assert_eq!(found, Some(named.clone()));
    for stranger in [SessionId::generate().reveal(), "", "not an id"] {
        assert_eq!(store.find_by_cookie(stranger).await.unwrap(), None);
    }

    let seen = |row: Option<SessionRow>| row.unwrap().last_seen_at_ms;
    let forward = [(row.id_hash, 5_000), (other.id_hash, 6_000)];
    store.touch(&forward).await.unwrap();
    store.touch(&[(row.id_hash, 4_000)]).await.unwrap();
    assert_eq!(seen(store.find(&row.id_hash).await.unwrap()), 5_000);
    assert_eq!(seen(store.find(&other.id_hash).await.unwrap()), 6_000);
    store.touch(&[]).await.unwrap();

    let gone = store
        .remove(&[removal(&row), removal(&session_row(9))])
        .await;
    assert_eq!(
        gone.unwrap(),
        [row.id_hash],
        "only existing sessions are returned"
    );
    assert!(store.remove(&[removal(&row)]).await.unwrap().is_empty());
    store.touch(&[(row.id_hash, 9_000)]).await.unwrap();
    assert_eq!(store.find(&row.id_hash).await.unwrap(), None);
    assert_eq!(store.find_by_ref(&row.session_ref).await.unwrap(), None);
    assert!(store.find(&other.id_hash).await.unwrap().is_some());
    let expected = [
        event(&row, None),
        event(&other, None),
        event(&named, None),
        event(&row, Some(EndCause::Logout)),
    ];
    assert_eq!(log(store).await, expected, "one event per change");
}

/// Checks every `SessionQuery`, and that expired sessions are distinguished from live ones.
pub async fn lists(store: &impl SessionStore) {
    let root = SessionRow {
        ancestors: Vec::new(),
        account: "ann".to_owned(),
        ..session_row(1)
    };
    let child = SessionRow {
        ancestors: vec![root.id_hash],
        account: "ann".to_owned(),
        created_at_ms: 2_000,
        ..session_row(2)
    };
    let grandchild = SessionRow {
        ancestors: vec![child.id_hash, root.id_hash],
        provider: None,
        ..session_row(3)
    };
    let orphan = session_row(4);
    for row in [&root, &child, &grandchild, &orphan] {
        insert(store, row).await.unwrap();
    }
    const NONE: [u8; 0] = [];
    let names = async |select: SessionQuery, limit: u32| -> Vec<u8> {
        let rows = store.list(&select, limit).await.unwrap();
        rows.iter().map(|row| row.id_hash.0[0]).collect()
    };
    let ann = SessionQuery::Account("ann".to_owned());
    assert_eq!(names(ann.clone(), 10).await, [1, 2]);
    assert_eq!(names(ann, 1).await, [1], "the oldest first");
    assert_eq!(
        names(SessionQuery::Account("Ann".to_owned()), 10).await,
        NONE
    );
    let children = |seed: u8| SessionQuery::ChildrenOf(IdHash([seed; 32]));
    assert_eq!(names(children(1), 10).await, [2], "not grandchildren");
    assert_eq!(names(children(2), 10).await, [3]);
    assert_eq!(names(SessionQuery::Orphans, 10).await, [4]);
    let provider = |subject: Option<&str>, session: Option<&str>| SessionQuery::Provider {
        provider: "corp".to_owned(),
        subject: subject.map(str::to_owned),
        session: session.map(str::to_owned),
    };
    assert_eq!(names(provider(Some("sub-2"), None), 10).await, [2]);
    assert_eq!(names(provider(None, Some("sid-4")), 10).await, [4]);
    assert_eq!(names(provider(Some("sub-4"), Some("sid-4")), 10).await, [4]);
    assert_eq!(
        names(provider(Some("sub-2"), Some("sid-4")), 10).await,
        NONE
    );
    let elsewhere = SessionQuery::Provider {
        provider: "other".to_owned(),
        subject: Some("sub-2".to_owned()),
        session: None,
    };
    assert_eq!(names(elsewhere, 10).await, NONE);

    let end = root.ends_at_ms();
    assert_eq!(names(SessionQuery::ExpiredAt(end - 1), 10).await, NONE);
    assert_eq!(store.count_live(end - 1).await.unwrap(), 4);
    store.touch(&[(child.id_hash, end)]).await.unwrap();
    assert_eq!(names(SessionQuery::ExpiredAt(end), 10).await, [1, 3, 4]);
    assert_eq!(store.count_live(end).await.unwrap(), 1);
    let over = |row: &SessionRow| SessionRemoval {
        only_if_expired_at_ms: Some(end),
        ..removal(row)
    };
    let gone = store.remove(&[over(&child), over(&orphan)]).await.unwrap();
    assert_eq!(gone, [orphan.id_hash], "the other became active meanwhile");
    store.remove(&[removal(&child)]).await.unwrap();
    assert_eq!(names(SessionQuery::Orphans, 10).await, [3]);
}

/// Checks that the children of a lost parent are found by their rows, and end with an event. `lose` removes a session
/// from the database without the store, as an eviction, an operator or a restored backup does.
pub async fn lost_parents(
    store: &(impl SessionStore + EventLog),
    lose: impl AsyncFnOnce(&SessionRow),
) {
    let row = |seed: u8, ancestors: &[u8]| SessionRow {
        ancestors: ancestors.iter().map(|seed| IdHash([*seed; 32])).collect(),
        created_at_ms: 1_000 + u64::from(seed),
        ..session_row(seed)
    };
    let (parent, other) = (row(1, &[]), row(2, &[]));
    let children = [row(3, &[1]), row(4, &[1])];
    let of_others = [row(5, &[2]), row(6, &[3, 1])];
    for row in [&parent, &other]
        .into_iter()
        .chain(&children)
        .chain(&of_others)
    {
        insert(store, row).await.unwrap();
    }
    let orphans = async |limit| store.list(&SessionQuery::Orphans, limit).await.unwrap();
    assert_eq!(orphans(10).await, []);
    lose(&parent).await;
    assert_eq!(store.find(&parent.id_hash).await.unwrap(), None);
    assert_eq!(orphans(10).await, children, "not grandchildren");
    assert_eq!(orphans(1).await.len(), 1);
    let ending = |row: &SessionRow| SessionRemoval {
        event: event(row, Some(EndCause::ParentEnded)),
        ..removal(row)
    };
    let ended = store.remove(&children.each_ref().map(ending)).await;
    assert_eq!(ended.unwrap(), children.each_ref().map(|row| row.id_hash));
    let logged = log(store).await;
    let expected = children
        .each_ref()
        .map(|row| event(row, Some(EndCause::ParentEnded)));
    assert!(logged.ends_with(&expected));
    let [_, grandchild] = &of_others;
    assert_eq!(orphans(10).await, std::slice::from_ref(grandchild));
}

/// Checks the limit of live sessions of an account: it counts logins, not the children that these started.
pub async fn limits(store: &impl SessionStore) {
    let row = |seed: u8| SessionRow {
        account: "ann".to_owned(),
        ancestors: Vec::new(),
        ..session_row(seed)
    };
    let insert = async |row: &SessionRow, limit: u32| {
        let event = event(row, None);
        store.insert(row, Some(limit), &event).await.unwrap()
    };
    assert_eq!(insert(&row(1), 2).await, InsertResult::Inserted);
    assert_eq!(insert(&row(2), 2).await, InsertResult::Inserted);
    assert_eq!(insert(&row(3), 2).await, InsertResult::LimitReached);
    assert_eq!(store.find(&row(3).id_hash).await.unwrap(), None);
    assert_eq!(insert(&row(3), 3).await, InsertResult::Inserted);
    let child = SessionRow {
        ancestors: vec![row(1).id_hash],
        ..row(6)
    };
    let inserted = store.insert(&child, None, &event(&child, None)).await;
    assert_eq!(inserted.unwrap(), InsertResult::Inserted);
    assert_eq!(
        insert(&row(7), 4).await,
        InsertResult::Inserted,
        "children do not count"
    );
    assert_eq!(insert(&session_row(4), 1).await, InsertResult::Inserted);
    let later = SessionRow {
        created_at_ms: row(1).ends_at_ms(),
        last_seen_at_ms: row(1).ends_at_ms(),
        ..row(5)
    };
    assert_eq!(
        insert(&later, 1).await,
        InsertResult::Inserted,
        "the others have expired"
    );

    let bob = |seed: u8| SessionRow {
        account: "bob".to_owned(),
        ..row(seed)
    };
    let rows: Vec<_> = (10..16).map(bob).collect();
    let [a, b, c, d, e, f] = &rows[..] else {
        return;
    };
    let at_once = tokio::join!(
        insert(a, 2),
        insert(b, 2),
        insert(c, 2),
        insert(d, 2),
        insert(e, 2),
        insert(f, 2)
    );
    let at_once: [_; 6] = at_once.into();
    let kept = at_once
        .iter()
        .filter(|kept| **kept == InsertResult::Inserted);
    assert_eq!(kept.count(), 2, "under concurrent inserts");
}
