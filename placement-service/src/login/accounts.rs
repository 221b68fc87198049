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
mod tests;
