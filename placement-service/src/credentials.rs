//! Whether a name and a password let somebody in (S20). Whatever the reason that they do not, the same is
//! done: one password hashed, the account looked up before and after it, its attempts written once. So no
//! reason shows in the time that the answer takes.

use crate::accounts::is_name;
use crate::clock::Clock;
use crate::config::LockOut;
use crate::password::{PasswordError, Passwords};
use crate::store::{AccountRow, AccountStore, Attempts, EndCause, StoreError};
use std::sync::Arc;

/// What came of looking at a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// They belong together, and the account is open.
    Passed(AccountRow),
    /// There is no account of that name.
    Unknown,
    /// The wrong password; with what the account's attempts are now.
    Wrong(Attempts),
    /// The account is locked, by failures or by an operator. The password was looked at all the same.
    Locked,
}

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Hashing(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks passwords.
pub struct Credentials {
    store: Arc<dyn AccountStore>,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    lock_out: LockOut,
}

impl Credentials {
    /// Over a store of accounts.
    #[must_use]
    pub const fn new(
        store: Arc<dyn AccountStore>,
        clock: Arc<dyn Clock>,
        passwords: Passwords,
        lock_out: LockOut,
    ) -> Self {
        Self {
            store,
            clock,
            passwords,
            lock_out,
        }
    }

    /// Checks a password. Failures in a row lock the account; those while it is locked do not count.
    pub async fn check(&self, name: &str, password: String) -> Result<Checked, CheckError> {
        let stored = self.find(name).await?.map(|row| row.password_hash);
        let matches = self.passwords.matches(stored.clone(), password).await?;
        let passed = stored.filter(|_| matches);
        loop {
            // Again, after the hashing: of many attempts at once each sees what those before it have left.
            let row = self.find(name).await?;
            let (checked, before, after) = self.judge(row, passed.as_deref());
            if matches!(checked, Checked::Passed(_)) && before == after {
                return Ok(checked);
            }
            // All failures write, also those that change nothing: it takes the same time.
            let written = self
                .store
                .set_attempts(storable(name), before, after)
                .await?;
            if written || checked == Checked::Unknown {
                return Ok(checked);
            }
        }
    }

    /// Why an account that has just passed would not pass any more. Asked when its session has begun: a lock
    /// or a change in between has not seen that session.
    pub async fn changed_since(&self, passed: &AccountRow) -> Result<Option<EndCause>, StoreError> {
        Ok(match self.find(&passed.name).await? {
            Some(row) if row.locked => Some(EndCause::AccountLocked),
            Some(row) if row.password_hash != passed.password_hash => {
                Some(EndCause::PasswordChanged)
            }
            Some(row) if row.roles != passed.roles => Some(EndCause::RolesChanged),
            Some(_) => None,
            None => Some(EndCause::AccountLocked),
        })
    }

    /// What becomes of the attempts. `passed` is the hash that the password has matched.
    fn judge(
        &self,
        row: Option<AccountRow>,
        passed: Option<&str>,
    ) -> (Checked, Attempts, Attempts) {
        let none = Attempts::default();
        let Some(row) = row else {
            return (Checked::Unknown, none, none);
        };
        let (before, now_ms) = (row.attempts, self.clock.now_ms());
        if row.locked || now_ms < before.locked_until_ms {
            return (Checked::Locked, before, before);
        }
        if passed == Some(row.password_hash.as_str()) {
            return (Checked::Passed(row), before, none);
        }
        let after = self.lock_out.after_failure(before, now_ms);
        (Checked::Wrong(after), before, after)
    }

    async fn find(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        self.store.find_account(storable(name)).await
    }
}

/// What is no name is in no store, and may be more than one can take.
fn storable(name: &str) -> &str {
    if is_name(name) { name } else { "?" }
}

#[cfg(test)]
mod tests;
