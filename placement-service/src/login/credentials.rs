//! Whether a name and a password let somebody in (S20). Whatever the reason that they do not, the same is
//! done: one password hashed, the account looked up before and after it, its attempts written once. So no
//! reason shows in the time that the answer takes. Failures from a browser that has logged in to the account
//! before lock that browser out, those from any other one the account for all other ones.

use crate::config::Lockout;
use crate::core::clock::Clock;
use crate::core::names::is_name;
use crate::login::devices::{DeviceKey, Devices};
use crate::login::password::{PasswordError, Passwords};
use berth_store::{AccountRow, AccountStore, Attempts, EndCause, StoreError};
use std::sync::Arc;

/// What came of looking at a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// They belong together, and the account is open.
    Passed(AccountRow),
    /// There is no account of that name.
    Unknown,
    /// The wrong password; with what the attempts are now, and whose.
    Wrong(Attempts, Scope),
    /// The account is locked, by failures or by an operator. The password was looked at all the same.
    Locked,
}

/// Whom failed logins lock out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The account, for all browsers that have not logged in to it before.
    Account,
    /// One browser that has.
    Device,
}

impl Scope {
    /// The constant for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Device => "device",
        }
    }
}

/// One change of an account's attempts: from what they were to what they become.
#[derive(Debug, PartialEq, Eq)]
enum Update {
    Account(Attempts, Attempts),
    Devices(String, String),
}

impl Update {
    fn is_change(&self) -> bool {
        match self {
            Self::Account(before, after) => before != after,
            Self::Devices(before, after) => before != after,
        }
    }
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
    device_key: DeviceKey,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    lockout: Lockout,
}

impl Credentials {
    /// Over a store of accounts.
    #[must_use]
    pub const fn new(
        store: Arc<dyn AccountStore>,
        device_key: DeviceKey,
        clock: Arc<dyn Clock>,
        passwords: Passwords,
        lockout: Lockout,
    ) -> Self {
        Self {
            store,
            device_key,
            clock,
            passwords,
            lockout,
        }
    }

    /// Checks a password. Failures in a row lock the account, or the device that `device_cookie` proves; those
    /// while it is locked do not count.
    pub async fn check(
        &self,
        name: &str,
        password: String,
        device_cookie: &str,
    ) -> Result<Checked, CheckError> {
        let stored = self.find(name).await?.map(|row| row.password_hash);
        let matches = self.passwords.matches(stored.clone(), password).await?;
        let passed = stored.filter(|_| matches);
        loop {
            // Again, after the hashing: of many attempts at once each sees what those before it have left.
            let row = self.find(name).await?;
            let (checked, update) = self.judge(row, passed.as_deref(), device_cookie)?;
            if matches!(checked, Checked::Passed(_)) && !update.is_change() {
                return Ok(checked);
            }
            // All failures write, also those that change nothing: it takes the same time.
            let written = self.write(storable(name), &update).await?;
            if written || checked == Checked::Unknown {
                return Ok(checked);
            }
        }
    }

    /// What a browser that has just logged in to the account gets in place of `old`, so that it is a device from
    /// here on. Worthless if the account was locked or got another password since it passed.
    pub fn device_cookie(&self, passed: &AccountRow, old: &str) -> Result<String, StoreError> {
        let devices = Devices::parse(&passed.devices)?;
        let now_ms = self.clock.now_ms();
        Ok(self.device_key.issue(old, passed, &devices, now_ms))
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
        device_cookie: &str,
    ) -> Result<(Checked, Update), StoreError> {
        let none = Attempts::default();
        let Some(row) = row else {
            return Ok((Checked::Unknown, Update::Account(none, none)));
        };
        let now_ms = self.clock.now_ms();
        let devices = Devices::parse(&row.devices)?;
        let device = self.device_key.find(device_cookie, &row, &devices, now_ms);
        let device = device.and_then(|device| Some((devices.attempts(&device)?, device)));
        let (before, scope) = match &device {
            Some((attempts, _)) => (*attempts, Scope::Device),
            None => (row.attempts, Scope::Account),
        };
        let text = row.devices.clone();
        let (checked, after) = if row.locked || now_ms < before.locked_until_ms {
            (Checked::Locked, before)
        } else if passed == Some(row.password_hash.as_str()) {
            (Checked::Passed(row), none)
        } else {
            let after = self.lockout.after_failure(before, now_ms);
            (Checked::Wrong(after, scope), after)
        };
        let update = match device {
            None => Update::Account(before, after),
            Some((_, device)) => {
                let devices = devices.with_attempts(&device, after, now_ms);
                Update::Devices(text, devices.to_text()?)
            }
        };
        Ok((checked, update))
    }

    /// `false` when the attempts are no longer what they were.
    async fn write(&self, name: &str, update: &Update) -> Result<bool, StoreError> {
        match update {
            Update::Account(before, after) => self.store.set_attempts(name, *before, *after).await,
            Update::Devices(before, after) => self.store.set_devices(name, before, after).await,
        }
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
