//! Local accounts: what a name, a role and a password may look like, adding, listing, and checking a
//! password.

use crate::clock::Clock;
use crate::password::{PasswordError, Passwords};
use crate::store::{AccountRow, AccountStore, Attempts, StoreError};
use std::sync::Arc;

/// Longest account and role name, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Shortest password of a new account, in characters (NIST SP 800-63B).
pub const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// An account that has proven itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub roles: Vec<String>,
}

/// Why an account was not added.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error("{0:?} is not a name: 1 to {MAX_NAME_BYTES} bytes of letters, digits and . _ - + @")]
    Name(String),
    #[error("the password must have {MIN_PASSWORD_CHARS} characters to {MAX_PASSWORD_BYTES} bytes")]
    Password,
    #[error("the account {0:?} exists already")]
    Exists(String),
    #[error(transparent)]
    Hashing(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a password was not checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
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
    /// Over a store of accounts.
    pub fn new(store: Arc<dyn AccountStore>, clock: Arc<dyn Clock>) -> Result<Self, PasswordError> {
        Ok(Self {
            store,
            clock,
            passwords: Passwords::new()?,
        })
    }

    /// Adds an account. One that exists stays as it is.
    pub async fn add(
        &self,
        name: &str,
        roles: &[String],
        password: String,
    ) -> Result<(), AddError> {
        for text in std::iter::once(name).chain(roles.iter().map(String::as_str)) {
            if !is_name(text) {
                return Err(AddError::Name(text.to_owned()));
            }
        }
        if password.chars().count() < MIN_PASSWORD_CHARS || password.len() > MAX_PASSWORD_BYTES {
            return Err(AddError::Password);
        }
        if self.store.find_account(name).await?.is_some() {
            return Err(AddError::Exists(name.to_owned()));
        }
        let row = AccountRow {
            name: name.to_owned(),
            password_hash: self.passwords.hash(password).await?,
            roles: roles.to_vec(),
            created_at_ms: self.clock.now_ms(),
            locked: false,
            attempts: Attempts::default(),
        };
        if self.store.add_account(&row).await? {
            Ok(())
        } else {
            Err(AddError::Exists(name.to_owned()))
        }
    }

    /// Every account, by name.
    pub async fn list(&self) -> Result<Vec<Account>, StoreError> {
        let rows = self.store.accounts().await?;
        Ok(rows.into_iter().map(Account::from).collect())
    }

    /// The account when name and password belong together. An unknown name takes as long as a wrong
    /// password.
    pub async fn check(&self, name: &str, password: String) -> Result<Option<Account>, CheckError> {
        let row = if is_name(name) {
            self.store.find_account(name).await?
        } else {
            None
        };
        let stored = row.as_ref().map(|row| row.password_hash.clone());
        let matches = self.passwords.matches(stored, password).await?;
        Ok(row.filter(|_| matches).map(Account::from))
    }
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self {
            name: row.name,
            roles: row.roles,
        }
    }
}

/// Whether a text may name an account or a role: no spaces, no control characters, nothing that a
/// header, a log or a shell would trip over.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::sqlite::SqliteStore;

    async fn accounts(dir: &tempfile::TempDir) -> Accounts {
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        Accounts::new(Arc::new(store), Arc::new(ManualClock::new(1))).unwrap()
    }

    #[tokio::test]
    async fn an_added_account_can_prove_itself() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = accounts(&dir).await;
        let roles = vec!["user".to_owned(), "admin".to_owned()];
        accounts
            .add("zoë@example.com", &roles, "a long one".to_owned())
            .await
            .unwrap();
        let check = |name: &'static str, password: &str| {
            let (accounts, password) = (accounts.clone(), password.to_owned());
            async move { accounts.check(name, password).await.unwrap() }
        };
        let zoe = Account {
            name: "zoë@example.com".to_owned(),
            roles,
        };
        assert_eq!(
            check("zoë@example.com", "a long one").await,
            Some(zoe.clone())
        );
        assert_eq!(check("zoë@example.com", "a long on").await, None);
        assert_eq!(check("zoe", "a long one").await, None);
        assert_eq!(check("zo\0e", "a long one").await, None);
        assert_eq!(accounts.list().await.unwrap(), [zoe]);
    }

    #[tokio::test]
    async fn names_are_taken_once_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = accounts(&dir).await;
        let add = |name: &'static str, role: &str, password: &str| {
            let (accounts, role) = (accounts.clone(), vec![role.to_owned()]);
            let password = password.to_owned();
            async move {
                let added = accounts.add(name, &role, password).await;
                added.err().map(|e| e.to_string())
            }
        };
        assert_eq!(add("demo", "user", "demo-password").await, None);
        assert_eq!(
            add("demo", "admin", "other-password").await.unwrap(),
            "the account \"demo\" exists already"
        );
        assert!(
            accounts
                .check("demo", "demo-password".to_owned())
                .await
                .unwrap()
                .is_some()
        );
        for (name, role) in [
            ("", "user"),
            ("a b", "user"),
            ("a\n", "user"),
            ("ok", "a,b"),
        ] {
            assert!(
                add(name, role, "demo-password")
                    .await
                    .unwrap()
                    .contains("not a name")
            );
        }
        assert!(
            add("ok", "user", "short")
                .await
                .unwrap()
                .contains("8 characters")
        );
        assert_eq!(accounts.list().await.unwrap().len(), 1);
    }
}
