//! Accounts: names are unique and case-sensitive, attempts and devices change by compare-and-set, and a change
//! leaves the other fields alone.

use crate::{AccountChange, AccountRow, AccountStore, Attempts};

/// Checks adding, finding and changing accounts.
pub async fn accounts(store: &impl AccountStore) {
    let row = |name: &str, hash: &str| AccountRow {
        name: name.to_owned(),
        password_hash: hash.to_owned(),
        roles: vec!["user".to_owned()],
        created_at_ms: 3,
        locked: false,
        attempts: Attempts::default(),
        devices: String::new(),
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

    let none = Attempts::default();
    let five = Attempts {
        failures: 5,
        locked_until_ms: 60_000,
    };
    assert!(store.set_attempts("demo", none, five).await.unwrap());
    assert!(!store.set_attempts("demo", none, none).await.unwrap());
    assert!(!store.set_attempts("nobody", none, five).await.unwrap());

    let six = Attempts {
        failures: 6,
        ..five
    };
    let set = || store.set_attempts("demo", five, six);
    let at_once = tokio::join!(set(), set(), set(), set());
    let at_once: [_; 4] = at_once.into();
    let won = at_once.into_iter().filter(|set| *set.as_ref().unwrap());
    assert_eq!(won.count(), 1, "exactly one concurrent call succeeds");
    assert!(store.set_attempts("demo", six, five).await.unwrap());

    let set = || store.set_devices("demo", "", "[\"é\"]");
    let at_once = tokio::join!(set(), set(), set(), set());
    let at_once: [_; 4] = at_once.into();
    let won = at_once.into_iter().filter(|set| *set.as_ref().unwrap());
    assert_eq!(won.count(), 1, "exactly one concurrent call succeeds");
    assert!(!store.set_devices("nobody", "", "x").await.unwrap());

    let roles = vec!["admin".to_owned(), "user".to_owned()];
    // Each change leaves the fields that the others changed.
    for change in [
        AccountChange::Locked(true),
        AccountChange::Roles(roles.clone()),
        AccountChange::PasswordHash("fourth".to_owned()),
    ] {
        assert!(store.change_account("demo", &change).await.unwrap());
        assert!(!store.change_account("nobody", &change).await.unwrap());
    }
    let changed = AccountRow {
        roles,
        locked: true,
        attempts: five,
        devices: "[\"é\"]".to_owned(),
        ..row("demo", "fourth")
    };
    let found = store.find_account("demo").await.unwrap();
    assert_eq!(found, Some(changed), "attempts and devices are unchanged");
    let open = AccountChange::Locked(false);
    assert!(store.change_account("demo", &open).await.unwrap());
    let found = store.find_account("demo").await.unwrap().unwrap();
    assert!(!found.locked);
    assert_eq!(store.find_account("nobody").await.unwrap(), None);

    let key = "corp:o'brien|#EXT# é";
    assert!(store.add_account(&row(key, "")).await.unwrap());
    let found = store.find_account(key).await.unwrap();
    assert_eq!(found, Some(row(key, "")));
    assert!(store.remove_account(key).await.unwrap());
    assert!(!store.remove_account(key).await.unwrap());
    assert_eq!(store.find_account(key).await.unwrap(), None);
    assert_eq!(store.accounts().await.unwrap().len(), 2);
}
