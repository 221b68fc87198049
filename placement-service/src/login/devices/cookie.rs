//! The device cookie, by which a browser proves that it has logged in to an account before. It has one entry for each
//! of the browser's last accounts: a random id, the time, and a MAC over both, the account and its password hash. It
//! has no account name and gives no access: a thief only gets a separate count of failures. A new password or a
//! revocation invalidates it. Must not know HTTP.

use super::{DEVICE_LIFETIME_MS, Devices};
use crate::sessions::server_keys::load_mac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::{AccountRow, Coordination, StoreError};
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;

/// Maximum number of accounts in one cookie.
const MAX_ACCOUNTS: usize = 4;
const ID_BYTES: usize = 16;
const TIME_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
const ENTRY_BYTES: usize = ID_BYTES + TIME_BYTES + TAG_BYTES;
/// Length of an entry in base64url without padding.
const ENTRY_CHARS: usize = (ENTRY_BYTES * 4).div_ceil(3);
/// Maximum length of a cookie value; a longer one is ignored.
pub const MAX_COOKIE_BYTES: usize = MAX_ACCOUNTS * (ENTRY_CHARS + 1) - 1;

/// A browser that has logged in to an account before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub(super) id: String,
    pub(super) expires_at_ms: u64,
}

/// Issues and verifies device cookies. All replicas have the same key.
#[derive(Clone)]
pub struct DeviceKey(Hmac<Sha256>);

/// A cookie's entry for one account.
struct Entry<'a> {
    /// The encoded entry in the cookie.
    text: &'a str,
    bytes: [u8; ENTRY_BYTES],
}

impl DeviceKey {
    /// Loads the key from the store; a new store creates it.
    pub async fn load(store: &dyn Coordination) -> Result<Self, StoreError> {
        Ok(Self(load_mac(store, "login-device").await?))
    }

    /// A number below `count` for a text, which is the same on all replicas and which no client can predict.
    pub(crate) fn pick(&self, text: &str, count: u8) -> u8 {
        let mac = self.0.clone().chain_update(b"pick\0").chain_update(text);
        let tag = mac.finalize().into_bytes();
        tag.first().map_or(0, |byte| byte % count.max(1))
    }

    /// The device of this account that a cookie proves, if any.
    #[must_use]
    pub fn find_device(
        &self,
        cookie: &str,
        account: &AccountRow,
        devices: &Devices,
        now_ms: u64,
    ) -> Option<Device> {
        let mut entries = parse_entries(cookie);
        let entry =
            entries.find(|e| e.is_current(now_ms) && self.verify_entry(e, account, devices))?;
        Some(Device {
            id: URL_SAFE_NO_PAD.encode(entry.id()),
            expires_at_ms: entry.expires_at_ms(),
        })
    }

    /// The cookie value for a browser that has just logged in. It has a new device id, so that a stolen copy of the
    /// previous cookie no longer shares its count of failures. Keeps the entries of the browser's other accounts.
    #[must_use]
    pub fn issue(
        &self,
        old_cookie: &str,
        account: &AccountRow,
        devices: &Devices,
        now_ms: u64,
    ) -> String {
        let mut bytes = [0_u8; ENTRY_BYTES];
        let (id, remaining) = bytes.split_at_mut(ID_BYTES);
        let (issued_at, tag) = remaining.split_at_mut(TIME_BYTES);
        rand::rng().fill_bytes(id);
        issued_at.copy_from_slice(&now_ms.to_be_bytes());
        let mac = self
            .mac(id, issued_at, account, devices)
            .finalize()
            .into_bytes();
        tag.iter_mut()
            .zip(mac)
            .for_each(|(target, source)| *target = source);
        let other_entries = parse_entries(old_cookie)
            .filter(|entry| entry.is_current(now_ms) && !self.verify_entry(entry, account, devices))
            .map(|entry| entry.text.to_owned());
        let mut entries = vec![URL_SAFE_NO_PAD.encode(bytes)];
        entries.extend(other_entries.take(MAX_ACCOUNTS - 1));
        entries.join(".")
    }

    fn verify_entry(&self, entry: &Entry<'_>, account: &AccountRow, devices: &Devices) -> bool {
        let mac = self.mac(entry.id(), entry.time(), account, devices);
        mac.verify_truncated_left(entry.tag()).is_ok()
    }

    /// The NUL separates name and hash unambiguously, because names contain none.
    fn mac(
        &self,
        id: &[u8],
        issued_at: &[u8],
        account: &AccountRow,
        devices: &Devices,
    ) -> Hmac<Sha256> {
        let mac = self.0.clone().chain_update(id).chain_update(issued_at);
        mac.chain_update(devices.generation.to_be_bytes())
            .chain_update(&account.name)
            .chain_update([0])
            .chain_update(&account.password_hash)
    }
}

impl Entry<'_> {
    fn id(&self) -> &[u8] {
        self.bytes.get(..ID_BYTES).unwrap_or_default()
    }

    fn time(&self) -> &[u8] {
        let time_range = ID_BYTES..ID_BYTES + TIME_BYTES;
        self.bytes.get(time_range).unwrap_or_default()
    }

    fn tag(&self) -> &[u8] {
        self.bytes.get(ID_BYTES + TIME_BYTES..).unwrap_or_default()
    }

    fn expires_at_ms(&self) -> u64 {
        let issued_at_ms = self.time().first_chunk().copied().map(u64::from_be_bytes);
        let issued_at_ms = issued_at_ms.unwrap_or_default();
        issued_at_ms.saturating_add(DEVICE_LIFETIME_MS)
    }

    fn is_current(&self, now_ms: u64) -> bool {
        now_ms < self.expires_at_ms()
    }
}

/// Parses the entries, newest first; skips invalid ones.
fn parse_entries(cookie: &str) -> impl Iterator<Item = Entry<'_>> {
    let fits = cookie.len() <= MAX_COOKIE_BYTES;
    let texts = cookie.split('.').filter(move |_| fits);
    texts.filter_map(|text| {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        Some(Entry { text, bytes })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::Attempts;
    use berth_store::in_memory::InMemoryStore;

    const NOW_MS: u64 = 1_700_000_000_000;

    async fn key(seed: &[u8]) -> DeviceKey {
        let store = InMemoryStore::new(Some(seed)).unwrap();
        DeviceKey::load(&store).await.unwrap()
    }

    fn account(name: &str, password_hash: &str) -> AccountRow {
        AccountRow {
            name: name.to_owned(),
            password_hash: password_hash.to_owned(),
            roles: Vec::new(),
            created_at_ms: 1,
            locked: false,
            attempts: Attempts::default(),
            devices: String::new(),
        }
    }

    #[tokio::test]
    async fn a_cookie_proves_one_account_with_one_password_until_it_expires() {
        let (other, key, devices) = (key(b"b").await, key(b"a").await, Devices::default());
        let ann = account("ann", "hash");
        let cookie = key.issue("", &ann, &devices, NOW_MS);
        let proves = |key: &DeviceKey, account: &AccountRow, devices: &Devices, now_ms| {
            key.find_device(&cookie, account, devices, now_ms).is_some()
        };
        let last_ms = NOW_MS + DEVICE_LIFETIME_MS - 1;
        assert!(proves(&key, &ann, &devices, last_ms));
        assert!(!proves(&key, &ann, &devices, last_ms + 1));
        assert!(!proves(&key, &account("eve", "hash"), &devices, NOW_MS));
        assert!(!proves(&key, &account("annh", "ash"), &devices, NOW_MS));
        assert!(!proves(&key, &account("ann", "other"), &devices, NOW_MS));
        assert!(!proves(
            &key,
            &ann,
            &devices.clone().revoke_cookies(),
            NOW_MS
        ));
        assert!(!proves(&other, &ann, &devices, NOW_MS));
    }

    #[tokio::test]
    async fn a_changed_byte_invalidates_the_cookie() {
        let (key, devices) = (key(b"a").await, Devices::default());
        let ann = account("ann", "hash");
        let cookie = key.issue("", &ann, &devices, NOW_MS);
        assert_eq!(cookie.len(), ENTRY_CHARS);
        for index in 0..cookie.len() {
            let mut bytes = cookie.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(bytes).unwrap();
            assert_eq!(
                key.find_device(&altered, &ann, &devices, NOW_MS),
                None,
                "{index}"
            );
        }
        let too_long = format!("{cookie}.{}", "A".repeat(MAX_COOKIE_BYTES));
        for malformed in ["", ".", "....", "é", &cookie[1..], &too_long] {
            assert_eq!(key.find_device(malformed, &ann, &devices, NOW_MS), None);
        }
    }

    #[tokio::test]
    async fn a_cookie_keeps_the_last_accounts_and_each_login_is_a_new_device() {
        let (key, devices) = (key(b"a").await, Devices::default());
        let accounts: Vec<_> = (0..6).map(|n| account(&format!("a{n}"), "h")).collect();
        let mut cookie = "nonsense".to_owned();
        for account in &accounts {
            cookie = key.issue(&cookie, account, &devices, NOW_MS);
        }
        assert_eq!(cookie.len(), MAX_COOKIE_BYTES);
        let find = |cookie: &str, n: usize| key.find_device(cookie, &accounts[n], &devices, NOW_MS);
        let accepted: Vec<_> = (0..6).map(|n| find(&cookie, n).is_some()).collect();
        assert_eq!(accepted, [false, false, true, true, true, true]);
        let renewed = key.issue(&cookie, &accounts[2], &devices, NOW_MS);
        assert_eq!(renewed.len(), MAX_COOKIE_BYTES, "not there twice");
        assert_ne!(find(&renewed, 2), find(&cookie, 2));
        assert_eq!(find(&renewed, 5), find(&cookie, 5));
        let expired_issue = key.issue(
            &renewed,
            &accounts[0],
            &devices,
            NOW_MS + DEVICE_LIFETIME_MS,
        );
        assert_eq!(expired_issue.len(), ENTRY_CHARS, "expired ones go");
    }
}
