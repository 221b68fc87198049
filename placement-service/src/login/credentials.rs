//! Decides whether a name and a password are accepted. Every refusal does the same work: it looks up the account,
//! hashes one password, looks up the account again and writes its attempts once; a decoy takes the place of an account
//! that does not exist. Therefore the response time does not reveal the reason. Failures from a device (a browser that has logged in to the account before) lock that device;
//! failures from other browsers lock the account for all browsers that are not devices. Must not know HTTP or sessions.

pub(crate) mod decoys;

use crate::config::Lockout;
use crate::core::clock::Clock;
use crate::core::names::is_name;
use crate::login::devices::{DeviceKey, Devices};
use crate::login::password::{PasswordError, Passwords};
use berth_store::{AccountRow, AccountStore, Attempts, EndCause, StoreError};
use std::sync::Arc;

/// Result of checking a name and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The password is right and the account is not locked.
    Passed(AccountRow),
    /// There is no such account.
    UnknownAccount,
    /// The password is wrong. The attempts include this failure; the scope says whose they are.
    WrongPassword(Attempts, LockoutScope),
    /// The account is locked, by failures or by an operator. The password was checked nevertheless.
    Locked,
}

/// What failed logins lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockoutScope {
    /// The account, for all browsers that are not devices.
    Account,
    /// One device.
    Device,
}

impl LockoutScope {
    /// The constant for logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Device => "device",
        }
    }
}

/// A compare-and-set of an account's attempts: the value before and the value after.
#[derive(Debug, PartialEq, Eq)]
enum AttemptsUpdate {
    Account(Attempts, Attempts),
    Devices(String, String),
}

impl AttemptsUpdate {
    fn is_change(&self) -> bool {
        match self {
            Self::Account(before, after) => before != after,
            Self::Devices(before, after) => before != after,
        }
    }
}

/// Why a check could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Hashing(#[from] PasswordError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks names and passwords, and counts failures.
#[derive(Clone)]
pub struct Credentials {
    store: Arc<dyn AccountStore>,
    device_key: DeviceKey,
    clock: Arc<dyn Clock>,
    passwords: Passwords,
    lockout: Lockout,
}

impl Credentials {
    /// The same with another lockout.
    pub(super) fn with_lockout(&self, lockout: Lockout) -> Self {
        Self {
            lockout,
            ..self.clone()
        }
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Checks against the accounts of `store`.
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

    /// Checks a password. Consecutive failures lock the account, or the device that `device_cookie` proves. Failures
    /// during a lock are not counted.
    pub async fn check(
        &self,
        name: &str,
        password: String,
        device_cookie: &str,
    ) -> Result<CheckOutcome, CheckError> {
        let stored = self.find_account(name).await?.map(|row| row.password_hash);
        let is_known = stored.is_some();
        let key = if is_known {
            name.to_owned()
        } else {
            decoys::decoy_name(&self.device_key, name)
        };
        let matches = self.passwords.verify(stored.clone(), password).await?;
        let passed_account = stored.filter(|_| matches);
        loop {
            // Read again after hashing, so that each of many concurrent attempts sees the failures before it.
            let row = if is_known {
                self.find_account(name).await?
            } else {
                let store = self.store.as_ref();
                decoys::read_decoy(store, &key, self.passwords.decoy()).await?;
                None
            };
            let (outcome, update) = self.evaluate(row, passed_account.as_deref(), device_cookie)?;
            if matches!(outcome, CheckOutcome::Passed(_)) && !update.is_change() {
                return Ok(outcome);
            }
            // Write also when a failure changes nothing, so that every failure takes the same time.
            let is_written = self.write_attempts(&key, &update).await?;
            if is_written || outcome == CheckOutcome::UnknownAccount {
                return Ok(outcome);
            }
        }
    }

    /// The cookie that makes a browser a device after a login; it replaces `old_cookie`. It is invalid if the account was
    /// locked or got another password after the check.
    pub fn device_cookie(
        &self,
        account: &AccountRow,
        old_cookie: &str,
    ) -> Result<String, StoreError> {
        let devices = Devices::parse(&account.devices)?;
        let now_ms = self.clock.now_ms();
        Ok(self.device_key.issue(old_cookie, account, &devices, now_ms))
    }

    /// Whether an operator has locked an account of a provider, given by its key.
    pub async fn is_locked(&self, account: &str) -> Result<bool, StoreError> {
        let row = self.store.find_account(account).await?;
        Ok(row.is_some_and(|row| row.locked))
    }

    /// Why an account that has just passed would no longer pass, if so. Called after its session is created, because a
    /// lock or a change in between could not end that session.
    pub async fn changed_since(
        &self,
        account: &AccountRow,
    ) -> Result<Option<EndCause>, StoreError> {
        Ok(match self.find_account(&account.name).await? {
            Some(row) if row.locked => Some(EndCause::AccountLocked),
            Some(row) if row.password_hash != account.password_hash => {
                Some(EndCause::PasswordChanged)
            }
            Some(row) if row.roles != account.roles => Some(EndCause::RolesChanged),
            Some(_) => None,
            None => Some(EndCause::AccountRemoved),
        })
    }

    /// Decides the result and the update of the attempts. `password_hash` is the hash that the password has matched.
    fn evaluate(
        &self,
        row: Option<AccountRow>,
        password_hash: Option<&str>,
        device_cookie: &str,
    ) -> Result<(CheckOutcome, AttemptsUpdate), StoreError> {
        let no_attempts = Attempts::default();
        let Some(row) = row else {
            return Ok((
                CheckOutcome::UnknownAccount,
                AttemptsUpdate::Account(no_attempts, no_attempts),
            ));
        };
        let now_ms = self.clock.now_ms();
        let devices = Devices::parse(&row.devices)?;
        let device = self
            .device_key
            .find_device(device_cookie, &row, &devices, now_ms);
        let device = device.and_then(|device| Some((devices.attempts(&device)?, device)));
        let (before, scope) = match &device {
            Some((attempts, _)) => (*attempts, LockoutScope::Device),
            None => (row.attempts, LockoutScope::Account),
        };
        let text = row.devices.clone();
        let (outcome, after) = if row.locked || self.lockout.is_locked(before, now_ms) {
            (CheckOutcome::Locked, before)
        } else if password_hash == Some(row.password_hash.as_str()) {
            (CheckOutcome::Passed(row), no_attempts)
        } else {
            let after = self.lockout.after_failure(before, now_ms);
            (CheckOutcome::WrongPassword(after, scope), after)
        };
        let update = match device {
            None => AttemptsUpdate::Account(before, after),
            Some((_, device)) => {
                let devices = devices.with_attempts(&device, after, now_ms);
                AttemptsUpdate::Devices(text, devices.to_text()?)
            }
        };
        Ok((outcome, update))
    }

    /// Returns `false` when the attempts have changed since they were read.
    async fn write_attempts(
        &self,
        name: &str,
        update: &AttemptsUpdate,
    ) -> Result<bool, StoreError> {
        match update {
            AttemptsUpdate::Account(before, after) => {
                self.store.set_attempts(name, *before, *after).await
            }
            AttemptsUpdate::Devices(before, after) => {
                self.store.set_devices(name, before, after).await
            }
        }
    }

    pub(super) async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        self.store.find_account(storable_name(name)).await
    }
}

/// Replaces an invalid name by a valid lookup key that matches no account: the store may not accept the name.
fn storable_name(name: &str) -> &str {
    if is_name(name) { name } else { "?" }
}

#[cfg(test)]
mod tests;
