//! Stored accounts to which nobody can log in, and which take the place of accounts that do not exist: a failed login
//! writes to one of them. Without that, a database would have nothing to commit, and the refusal of an unknown name would
//! be faster than that of a wrong password. Knows no password.

use crate::login::devices::DeviceKey;
use berth_store::{AccountRow, AccountStore, Attempts, StoreError};

/// Starts the names of decoys. No name of an account starts with it.
const PREFIX: char = '?';
/// Number of decoys: failed logins with unknown names rarely wait for each other's row.
const COUNT: u8 = 64;

/// Whether a stored account is a decoy.
pub(crate) fn is_decoy(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// The decoy for a name. The same name always has the same one, as an account has one row.
pub(super) fn decoy_name(key: &DeviceKey, name: &str) -> String {
    format!("{PREFIX}{}", key.pick(name, COUNT))
}

/// Reads a decoy, as the account would be read. The first use creates it.
pub(super) async fn read_decoy(
    store: &dyn AccountStore,
    name: &str,
    password_hash: &str,
) -> Result<(), StoreError> {
    if store.find_account(name).await?.is_some() {
        return Ok(());
    }
    let row = AccountRow {
        name: name.to_owned(),
        password_hash: password_hash.to_owned(),
        roles: Vec::new(),
        created_at_ms: 0,
        locked: true,
        attempts: Attempts::default(),
        devices: String::new(),
    };
    store.add_account(&row).await.map(drop)
}
