//! Devices: browsers that have logged in to an account before. Their failed logins are counted apart from those of
//! unknown browsers, so that an attacker cannot lock the owner out of a browser in use (OWASP ASVS 5.0, 6.1.1). Decides
//! what the account's row stores; `cookie` decides how a browser proves that it is a device.

mod cookie;

pub use cookie::{Device, DeviceKey, MAX_COOKIE_BYTES};

use berth_store::{Attempts, StoreError};
use serde::{Deserialize, Serialize};

/// How long a browser remains a device after its last login, in milliseconds.
pub const DEVICE_LIFETIME_MS: u64 = 90 * 24 * 3_600_000;
/// Maximum number of devices per account whose failures are stored, so that the row is bounded. Failures of further
/// devices count as failures of unknown browsers.
const MAX_FAILED: usize = 16;

/// The devices of one account, as stored in its row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Cookies of earlier generations are revoked.
    generation: u32,
    /// Devices with failed logins since their last successful one.
    failed: Vec<FailedDevice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FailedDevice {
    id: String,
    failures: u32,
    locked_until_ms: u64,
    /// Expiry of the device's cookie, after which this record is removed.
    expires_at_ms: u64,
}

impl Devices {
    /// Parses the text of an account's row.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(text)
            .map_err(|error| StoreError::Data(format!("devices is malformed: {error}")))
    }

    /// The text for the account's row.
    pub fn to_text(&self) -> Result<String, StoreError> {
        if *self == Self::default() {
            return Ok(String::new());
        }
        serde_json::to_string(self).map_err(|error| StoreError::Data(error.to_string()))
    }

    /// Consecutive failed logins of a device; `None` when the row has no space to count them.
    #[must_use]
    pub fn attempts(&self, device: &Device) -> Option<Attempts> {
        let failed = self.failed.iter().find(|failed| failed.id == device.id);
        match failed {
            Some(failed) => Some(Attempts {
                failures: failed.failures,
                locked_until_ms: failed.locked_until_ms,
            }),
            None => (self.failed.len() < MAX_FAILED).then(Attempts::default),
        }
    }

    /// Replaces the attempts of one device, and removes devices whose cookies have expired.
    #[must_use]
    pub fn with_attempts(mut self, device: &Device, attempts: Attempts, now_ms: u64) -> Self {
        self.failed
            .retain(|failed| failed.id != device.id && failed.expires_at_ms > now_ms);
        if attempts != Attempts::default() {
            self.failed.push(FailedDevice {
                id: device.id.clone(),
                failures: attempts.failures,
                locked_until_ms: attempts.locked_until_ms,
                expires_at_ms: device.expires_at_ms,
            });
        }
        self
    }

    /// Removes all failures.
    #[must_use]
    pub fn without_failures(mut self) -> Self {
        self.failed.clear();
        self
    }

    /// Revokes all device cookies issued so far.
    #[must_use]
    pub fn revoke_cookies(mut self) -> Self {
        self.generation = self.generation.wrapping_add(1);
        self.without_failures()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize) -> Device {
        Device {
            id: format!("device {number}"),
            expires_at_ms: 1_000,
        }
    }

    const FAILED: Attempts = Attempts {
        failures: 3,
        locked_until_ms: 7,
    };

    #[test]
    fn each_device_has_its_own_count_and_the_row_is_bounded() {
        let mut devices = Devices::default();
        assert_eq!(devices.to_text().unwrap(), "");
        for number in 0..MAX_FAILED {
            assert_eq!(devices.attempts(&device(number)), Some(Attempts::default()));
            devices = devices.with_attempts(&device(number), FAILED, 1);
        }
        assert_eq!(devices.attempts(&device(0)), Some(FAILED));
        assert_eq!(devices.attempts(&device(MAX_FAILED)), None);
        let text = devices.to_text().unwrap();
        assert!(text.len() < 2_000, "{}", text.len());
        assert_eq!(Devices::parse(&text).unwrap(), devices);
        let one_less = devices
            .clone()
            .with_attempts(&device(0), Attempts::default(), 1);
        assert_eq!(one_less.attempts(&device(99)), Some(Attempts::default()));
        let with_newer = devices.clone().with_attempts(&device(99), FAILED, 1_000);
        assert_eq!(with_newer.failed.len(), 1, "their cookies have expired");
        assert_eq!(
            devices.revoke_cookies().to_text().unwrap(),
            r#"{"generation":1,"failed":[]}"#
        );
        assert!(Devices::parse("nonsense").is_err());
    }
}
