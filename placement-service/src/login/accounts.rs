//! Management of accounts: adds, lists and changes local accounts, decides which names, roles and passwords are valid, and
//! locks accounts of OpenID providers, which are stored only while they are locked.
//! Must not know sessions: the caller (`cli::account`) ends the sessions of a changed account.

use crate::core::account_key::AccountKey;
use crate::core::clock::Clock;
use crate::core::names::{MAX_NAME_BYTES, ProviderNameFault, check_provider_name, is_name};
use crate::login::credentials::decoys::is_decoy;
use crate::login::devices::Devices;
use crate::login::password::{PasswordError, Passwords};
use berth_store::{AccountChange, AccountRow, AccountStore, Attempts, StoreError};
use std::sync::Arc;

/// Minimum length of a new password, in characters ([NIST SP 800-63B](https://pages.nist.gov/800-63-3/sp800-63b.html)).
pub const MIN_PASSWORD_CHARS: usize = 8;
/// Maximum length of a password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// Maximum size of all roles of an account, in bytes of JSON. The roles are part of the token, which must fit into a
/// header.
pub const MAX_ROLES_BYTES: usize = 16 * 1024;

/// Why an account was not added or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("{0:?} is not a name: 1 to {MAX_NAME_BYTES} bytes of letters, digits and . _ - + @")]
    Name(String),
    #[error("the password must have {MIN_PASSWORD_CHARS} characters to {MAX_PASSWORD_BYTES} bytes")]
    Password,
    #[error("the roles take {0} bytes of a token, more than {MAX_ROLES_BYTES}")]
    Roles(usize),
    #[error("the account {0:?} exists already")]
    Exists(String),
    #[error("there is no account {0:?}")]
    Unknown(String),
    #[error("{0:?} is not an account of a provider: the name {1}")]
    ProviderName(String, ProviderNameFault),
    #[error("{0:?} is an account of a provider: its password and roles are not kept here")]
    NotLocal(String),
    #[error("the account {0:?} is not locked")]
    NotLocked(String),
    #[error(transparent)]
    Hashing(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The use cases of accounts.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<dyn AccountStore>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
}

impl Accounts {
    /// Manages the accounts of a store. `passwords` is shared with those who check passwords, because it bounds the
    /// number of hashes at once.
    #[must_use]
    pub const fn new(
        store: Arc<dyn AccountStore>,
        clock: Arc<dyn Clock>,
        passwords: Passwords,
    ) -> Self {
        Self {
            store,
            clock,
            passwords,
        }
    }

    /// Adds an account. An existing account is not changed.
    pub async fn add(
        &self,
        name: &str,
        roles: &[String],
        password: String,
    ) -> Result<(), AccountError> {
        check_name(name)?;
        check_roles(roles)?;
        check_password(&password)?;
        if self.store.find_account(name).await?.is_some() {
            return Err(AccountError::Exists(name.to_owned()));
        }
        let password_hash = self.passwords.hash(password).await?;
        let row = self.new_row(name, password_hash, roles, false);
        if self.store.add_account(&row).await? {
            Ok(())
        } else {
            Err(AccountError::Exists(name.to_owned()))
        }
    }

    /// All accounts, sorted by name.
    pub async fn list(&self) -> Result<Vec<AccountRow>, StoreError> {
        let mut accounts = self.store.accounts().await?;
        accounts.retain(|account| !is_decoy(&account.name));
        Ok(accounts)
    }

    /// Locks an account, given by its key, until it is unlocked. Revokes the device cookies of all browsers.
    pub async fn lock(&self, key: &str) -> Result<(), AccountError> {
        if let AccountKey::Provider { name, .. } = AccountKey::parse(key) {
            check_provider_name(name)
                .map_err(|fault| AccountError::ProviderName(key.to_owned(), fault))?;
            // If it exists already, it is locked: unlocking removes it.
            let row = self.new_row(key, String::new(), &[], true);
            self.store.add_account(&row).await?;
            return Ok(());
        }
        self.change(key, AccountChange::Locked(true)).await?;
        self.update_devices(key, Devices::revoke_cookies).await
    }

    /// Unlocks an account, given by its key, that an operator or failed logins have locked.
    pub async fn unlock(&self, key: &str) -> Result<(), AccountError> {
        if let AccountKey::Provider { .. } = AccountKey::parse(key) {
            let was_locked = self.store.remove_account(key).await?;
            return was_locked
                .then_some(())
                .ok_or_else(|| AccountError::NotLocked(key.to_owned()));
        }
        self.change(key, AccountChange::Locked(false)).await?;
        self.reset_attempts(key).await
    }

    /// Removes a local account.
    pub async fn remove(&self, name: &str) -> Result<(), AccountError> {
        check_is_local(name)?;
        if self.store.remove_account(name).await? {
            Ok(())
        } else {
            Err(AccountError::Unknown(name.to_owned()))
        }
    }

    /// Sets a new password and resets the failed attempts. The device cookies of all browsers become invalid, because
    /// their MAC covers the password hash.
    pub async fn set_password(&self, name: &str, password: String) -> Result<(), AccountError> {
        check_password(&password)?;
        self.find(name).await?;
        let hash = self.passwords.hash(password).await?;
        let change = AccountChange::PasswordHash(hash);
        self.change(name, change).await?;
        self.reset_attempts(name).await
    }

    /// Sets the roles; `false` when the account already has exactly these.
    pub async fn set_roles(&self, name: &str, roles: &[String]) -> Result<bool, AccountError> {
        check_roles(roles)?;
        if self.find(name).await?.roles == roles {
            return Ok(false);
        }
        let change = AccountChange::Roles(roles.to_vec());
        self.change(name, change).await?;
        Ok(true)
    }

    fn new_row(
        &self,
        key: &str,
        password_hash: String,
        roles: &[String],
        locked: bool,
    ) -> AccountRow {
        AccountRow {
            name: key.to_owned(),
            password_hash,
            roles: roles.to_vec(),
            created_at_ms: self.clock.now_ms(),
            locked,
            attempts: Attempts::default(),
            devices: String::new(),
        }
    }

    async fn find(&self, name: &str) -> Result<AccountRow, AccountError> {
        check_is_local(name)?;
        let unknown = || AccountError::Unknown(name.to_owned());
        self.store.find_account(name).await?.ok_or_else(unknown)
    }

    /// Changes one field. Concurrent changes of other fields are kept.
    async fn change(&self, name: &str, change: AccountChange) -> Result<(), AccountError> {
        check_is_local(name)?;
        if self.store.change_account(name, &change).await? {
            Ok(())
        } else {
            Err(AccountError::Unknown(name.to_owned()))
        }
    }

    /// Retries until the write succeeds, because a login may fail concurrently.
    async fn reset_attempts(&self, name: &str) -> Result<(), AccountError> {
        loop {
            let previous = self.find(name).await?.attempts;
            let no_attempts = Attempts::default();
            if self.store.set_attempts(name, previous, no_attempts).await? {
                break;
            }
        }
        self.update_devices(name, Devices::without_failures).await
    }

    /// Retries until the write succeeds, because a login may change the devices concurrently.
    async fn update_devices(
        &self,
        name: &str,
        change: fn(Devices) -> Devices,
    ) -> Result<(), AccountError> {
        loop {
            let previous = self.find(name).await?.devices;
            let updated = change(Devices::parse(&previous)?).to_text()?;
            if self.store.set_devices(name, &previous, &updated).await? {
                return Ok(());
            }
        }
    }
}

fn check_name(text: &str) -> Result<(), AccountError> {
    if is_name(text) {
        Ok(())
    } else {
        Err(AccountError::Name(text.to_owned()))
    }
}

/// Only local accounts have a password and roles here. No account has a name that is invalid.
fn check_is_local(name: &str) -> Result<(), AccountError> {
    match AccountKey::parse(name) {
        AccountKey::Provider { .. } => Err(AccountError::NotLocal(name.to_owned())),
        AccountKey::Local(name) if is_name(name) => Ok(()),
        AccountKey::Local(name) => Err(AccountError::Unknown(name.to_owned())),
    }
}

fn check_roles(roles: &[String]) -> Result<(), AccountError> {
    roles.iter().try_for_each(|role| check_name(role))?;
    let in_json = |role: &String| role.len() + "\"\",".len();
    let bytes = roles.iter().map(in_json).sum();
    if bytes > MAX_ROLES_BYTES {
        return Err(AccountError::Roles(bytes));
    }
    Ok(())
}

/// Whether a new password is acceptable.
pub(super) fn check_password(password: &str) -> Result<(), AccountError> {
    if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
        return Err(AccountError::Password);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
}
