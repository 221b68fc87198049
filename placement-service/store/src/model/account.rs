//! Local accounts as they are kept, and the seam to their store.

use crate::StoreError;
use async_trait::async_trait;

/// A local account as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub name: String,
    /// argon2id in the PHC string format. Not a secret to print either.
    pub password_hash: String,
    pub roles: Vec<String>,
    pub created_at_ms: u64,
    /// Locked by an operator, until unlocked by one.
    pub locked: bool,
    pub attempts: Attempts,
    /// What the service keeps about browsers that have logged in to the account before: a text of its own, empty
    /// at first.
    pub devices: String,
}

/// Failed logins in a row, and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attempts {
    pub failures: u32,
    /// Nobody logs in before; 0 when that is no matter. Milliseconds since the Unix epoch.
    pub locked_until_ms: u64,
}

/// What of an account changes; the rest stays as somebody else may have just made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountChange {
    /// The hash of another password.
    PasswordHash(String),
    Roles(Vec<String>),
    Locked(bool),
}

/// Keeps local accounts.
#[async_trait]
pub trait AccountStore: Send + Sync + 'static {
    /// Adds an account; `false` when the name is taken, and nothing changes.
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError>;

    /// Finds an account by its exact name.
    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError>;

    /// Every account, by name.
    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError>;

    /// Makes one change, and leaves everything else; `false` when there is no such account.
    async fn change_account(&self, name: &str, change: &AccountChange) -> Result<bool, StoreError>;

    /// Replaces `before` by `after`; `false` when the account's attempts are not `before` any more.
    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError>;

    /// Replaces the text `before` of `devices` by `after`; `false` when it is not `before` any more.
    async fn set_devices(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreError>;
}
