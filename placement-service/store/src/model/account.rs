//! Accounts as stored, and the trait of their store: local accounts, and accounts of providers that are locked.
//! Knows no password rule: hashing and lockout are decided by the service.

use crate::StoreError;
use async_trait::async_trait;

/// A stored account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// The key of the account.
    pub name: String,
    /// argon2id in the PHC string format; empty for an account of a provider. Never print it.
    pub password_hash: String,
    pub roles: Vec<String>,
    pub created_at_ms: u64,
    /// Locked by an operator until an operator unlocks it.
    pub locked: bool,
    pub attempts: Attempts,
    /// The service's record of the browsers that have logged in to the account before: opaque to the store,
    /// empty at first.
    pub devices: String,
}

/// Consecutive failed logins and the resulting lockout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    pub failures: u32,
    /// Logins are refused until then; 0: no lockout. Milliseconds since the Unix epoch.
    pub locked_until_ms: u64,
}

/// One change to an account. Other fields keep their stored values, so that concurrent changes are not
/// overwritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// The hash of the new password.
    PasswordHash(String),
    Roles(Vec<String>),
    Locked(bool),
}

/// Stores accounts.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Adds an account; `false`, and no change, if the name is taken.
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError>;

    /// Finds an account by its exact name.
    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError>;

    /// Every account, sorted by name.
    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError>;

    /// Applies one change; `false` if there is no such account.
    async fn change_account(&self, name: &str, change: &AccountChange) -> Result<bool, StoreError>;

    /// Removes an account; `false` if there is no such account.
    async fn remove_account(&self, name: &str) -> Result<bool, StoreError>;

    /// Replaces the attempts `before` by `after`; `false` if the stored attempts are no longer `before`.
    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError>;

    /// Replaces the text `before` of `devices` by `after`; `false` if the stored text is no longer `before`.
    async fn set_devices(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreError>;
}
