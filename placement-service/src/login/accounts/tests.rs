//! Changes of accounts on a real SQLite file, alone and at once.

use super::*;
use crate::core::clock::ManualClock;
use berth_store::sqlite::SqliteStore;

async fn accounts(dir: &tempfile::TempDir) -> Accounts {
    let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
    let passwords = Passwords::new().unwrap();
    Accounts::new(Arc::new(store), Arc::new(ManualClock::new(1)), passwords)
}

async fn only(accounts: &Accounts) -> AccountRow {
    let [row] = &accounts.list().await.unwrap()[..] else {
        panic!("not one account");
    };
    row.clone()
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[tokio::test]
async fn names_are_unique_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = accounts(&dir).await;
    let add = async |name: &str, role: &str, password: &str| {
        let roles = strings(&[role]);
        let result = accounts.add(name, &roles, password.to_owned());
        result.await.err().map(|e| e.to_string())
    };
    assert_eq!(add("demo", "user", "demo-password").await, None);
    assert_eq!(
        add("demo", "admin", "other-password").await.unwrap(),
        "the account \"demo\" exists already"
    );
    for (name, role) in [
        ("", "user"),
        ("a b", "user"),
        ("a\n", "user"),
        ("ok", "a,b"),
    ] {
        let error = add(name, role, "demo-password").await.unwrap();
        assert!(error.contains("not a name"));
    }
    let error = add("ok", "user", "short").await.unwrap();
    assert!(error.contains("8 characters"));
    assert_eq!(only(&accounts).await.roles, ["user"]);
}

#[tokio::test]
async fn each_change_affects_only_its_fields() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = accounts(&dir).await;
    let first = "a long one".to_owned();
    accounts
        .add("ann", &strings(&["user"]), first)
        .await
        .unwrap();
    let previous = only(&accounts).await;
    let failed = Attempts {
        failures: 7,
        locked_until_ms: 9,
    };
    let no_attempts = Attempts::default();
    let fail = || accounts.store.set_attempts("ann", no_attempts, failed);

    accounts.lock("ann").await.unwrap();
    assert!(fail().await.unwrap());
    let row = only(&accounts).await;
    assert_eq!((row.locked, row.attempts), (true, failed));
    assert_ne!(row.devices, previous.devices, "revoked");
    let device_fails = accounts.store.set_devices(
        "ann",
        &row.devices,
        r#"{"generation":1,"failed":[{"id":"x","failures":7,"locked_until_ms":9,"expires_at_ms":9}]}"#,
    );
    assert!(device_fails.await.unwrap());
    accounts.unlock("ann").await.unwrap();
    let unlocked = only(&accounts).await;
    let previous = AccountRow {
        devices: row.devices,
        ..previous
    };
    assert_eq!(unlocked, previous, "failures are reset too");

    assert!(fail().await.unwrap());
    let second = "another one".to_owned();
    accounts.set_password("ann", second).await.unwrap();
    let row = only(&accounts).await;
    assert_ne!(row.password_hash, previous.password_hash);
    assert_eq!(
        (row.roles.as_slice(), row.attempts),
        (&previous.roles[..], previous.attempts)
    );

    let roles = strings(&["admin", "user"]);
    assert!(accounts.set_roles("ann", &roles).await.unwrap());
    assert!(!accounts.set_roles("ann", &roles).await.unwrap());
    let updated = only(&accounts).await;
    assert_eq!(
        (updated.roles, updated.password_hash),
        (roles, row.password_hash)
    );
}

#[tokio::test]
async fn concurrent_changes_do_not_undo_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = accounts(&dir).await;
    let password = "a long one".to_owned();
    accounts.add("ann", &[], password).await.unwrap();
    for n in 0..30 {
        accounts.unlock("ann").await.unwrap();
        let roles = strings(&[&format!("role-{n}")]);
        let (locked, changed_password) =
            tokio::join!(accounts.lock("ann"), accounts.set_roles("ann", &roles));
        assert!(locked.is_ok() && changed_password.unwrap());
        let row = only(&accounts).await;
        assert_eq!((row.locked, row.roles), (true, roles));
    }
}

#[tokio::test]
async fn unknown_accounts_and_invalid_values_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let accounts = accounts(&dir).await;
    let password = || "a long one".to_owned();
    for name in ["bob", "b\0b"] {
        let refused = [
            accounts.lock(name).await.unwrap_err(),
            accounts.unlock(name).await.unwrap_err(),
            accounts.set_password(name, password()).await.unwrap_err(),
            accounts.set_roles(name, &[]).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.to_string(), format!("there is no account {name:?}"));
        }
    }
    accounts.add("bob", &[], password()).await.unwrap();
    let short_password = accounts.set_password("bob", "short".to_owned()).await;
    assert!(matches!(short_password, Err(AccountError::Password)));
    let invalid_role = accounts.set_roles("bob", &strings(&["a b"])).await;
    assert!(matches!(invalid_role, Err(AccountError::Name(_))));
    let long_roles = vec!["r".repeat(128); 126];
    let error = accounts.set_roles("bob", &long_roles).await.unwrap_err();
    let expected = "the roles take 16506 bytes of a token, more than 16384";
    assert_eq!(error.to_string(), expected);
}
