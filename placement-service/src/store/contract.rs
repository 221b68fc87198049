//! What every store must do, as functions that run on any of them.

use super::{AccountRow, AccountStore, PAYLOAD_VERSION, SessionRow, SessionState, SessionStore};
use crate::session_id::IdHash;

/// A row with every column filled; `seed` makes it unlike others.
pub fn session_row(seed: u8) -> SessionRow {
    let mut claims = serde_json::Map::new();
    claims.insert("tenant".to_owned(), format!("t{seed}").into());
    SessionRow {
        id_hash: IdHash([seed; 32]),
        payload_version: PAYLOAD_VERSION,
        account: format!("Zoë {seed}"),
        roles: vec!["user".to_owned(), "a \"quoted\" role".to_owned()],
        created_at_ms: 1_000,
        last_seen_at_ms: 1_000,
        idle_timeout_ms: 30 * 60_000,
        absolute_expiry_ms: 36_000_000,
        parent: Some(IdHash([seed.wrapping_add(1); 32])),
        runtime: "gateway-1".to_owned(),
        state: SessionState::Active,
        claims,
    }
}

/// Sessions: what goes in comes out; touches go forward only; what is gone stays gone.
pub async fn sessions(store: &impl SessionStore) {
    store.ping().await.unwrap();
    let row = session_row(1);
    let other = SessionRow {
        parent: None,
        roles: Vec::new(),
        ..session_row(2)
    };
    assert_eq!(store.find(&row.id_hash).await.unwrap(), None);
    store.insert(&row).await.unwrap();
    store.insert(&other).await.unwrap();
    assert_eq!(store.find(&row.id_hash).await.unwrap(), Some(row.clone()));
    assert_eq!(
        store.find(&other.id_hash).await.unwrap(),
        Some(other.clone())
    );
    assert!(store.insert(&row).await.is_err(), "an id is used once");

    let seen = |row: Option<SessionRow>| row.unwrap().last_seen_at_ms;
    let forward = [(row.id_hash, 5_000), (other.id_hash, 6_000)];
    store.touch(&forward).await.unwrap();
    store.touch(&[(row.id_hash, 4_000)]).await.unwrap();
    assert_eq!(seen(store.find(&row.id_hash).await.unwrap()), 5_000);
    assert_eq!(seen(store.find(&other.id_hash).await.unwrap()), 6_000);
    store.touch(&[]).await.unwrap();

    assert!(store.remove(&row.id_hash).await.unwrap());
    assert!(!store.remove(&row.id_hash).await.unwrap());
    store.touch(&[(row.id_hash, 9_000)]).await.unwrap();
    assert_eq!(store.find(&row.id_hash).await.unwrap(), None);
    assert!(store.find(&other.id_hash).await.unwrap().is_some());

    let key = store.server_key("one", [1; 32]).await.unwrap();
    assert_eq!(key, [1; 32]);
    assert_eq!(store.server_key("one", [2; 32]).await.unwrap(), key);
    assert_eq!(store.server_key("two", [2; 32]).await.unwrap(), [2; 32]);
}

/// Accounts: a name is taken once, and exact.
pub async fn accounts(store: &impl AccountStore) {
    let row = |name: &str, hash: &str| AccountRow {
        name: name.to_owned(),
        password_hash: hash.to_owned(),
        roles: vec!["user".to_owned()],
        created_at_ms: 3,
    };
    assert_eq!(store.find_account("demo").await.unwrap(), None);
    assert!(store.add_account(&row("demo", "first")).await.unwrap());
    assert!(!store.add_account(&row("demo", "second")).await.unwrap());
    assert!(store.add_account(&row("Ann", "third")).await.unwrap());
    let found = store.find_account("demo").await.unwrap();
    assert_eq!(found, Some(row("demo", "first")));
    assert_eq!(store.find_account("DEMO").await.unwrap(), None);
    let names: Vec<_> = store.accounts().await.unwrap();
    let names: Vec<_> = names.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["Ann", "demo"]);
}
