//! Settings of the ledger in which replicas count their placements.

use super::SecretSource;
use super::fault_collector::{FaultCollector, SECOND};
use super::store;
use serde::Deserialize;
use std::time::Duration;

/// Each kind has settings of its own, so a file replaces this section as a whole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Ledger {
    /// In the memory of this process: for one replica.
    Memory {},
    /// Redis or Valkey.
    Redis(RedisLedger),
}

/// A ledger that replicas share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisLedger {
    /// `redis://:password@host:6379/0`, `rediss://` with TLS.
    pub url: SecretSource,
    #[serde(default = "store::prefix")]
    pub prefix: String,
    /// Timeout of a call.
    #[serde(default = "store::timeout", with = "humantime_serde")]
    pub timeout: Duration,
    /// Interval at which a replica reports its placements to the others.
    #[serde(default = "sync", with = "humantime_serde")]
    pub sync: Duration,
    /// The placements of a replica expire when it has sent no heartbeat for this long.
    #[serde(default = "lease", with = "humantime_serde")]
    pub lease: Duration,
}

const fn sync() -> Duration {
    Duration::from_millis(250)
}

const fn lease() -> Duration {
    Duration::from_secs(15)
}

impl Ledger {
    /// The source of the URL, if this kind has one.
    #[must_use]
    pub const fn url(&self) -> Option<&SecretSource> {
        match self {
            Self::Memory {} => None,
            Self::Redis(redis) => Some(&redis.url),
        }
    }
}

pub(super) fn check(ledger: &Ledger, faults: &mut FaultCollector) {
    let Ledger::Redis(redis) = ledger else {
        return;
    };
    store::check_prefix("placement.ledger.prefix", &redis.prefix, faults);
    let min = Duration::from_millis(50);
    let path = "placement.ledger.timeout";
    faults.check_range(path, redis.timeout, min, 30 * SECOND);
    faults.check_range("placement.ledger.sync", redis.sync, min, 10 * SECOND);
    faults.check_range("placement.ledger.lease", redis.lease, SECOND, 300 * SECOND);
    if redis.lease < redis.sync * 4 {
        let message = "must be four times placement.ledger.sync or more";
        faults.add("placement.ledger.lease", message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::secrets;
    use crate::config::load::from_text;

    fn faults(ledger: &str) -> String {
        let text = format!("placement: {{ ledger: {{ {ledger} }} }}");
        from_text(&text).unwrap_err().to_string()
    }

    #[test]
    fn missing_settings_get_defaults() {
        let text = "placement: { ledger: { kind: redis, url: { env: URL } } }";
        let config = from_text(text).unwrap().config;
        let Ledger::Redis(redis) = &config.placement.ledger else {
            panic!("not a redis ledger");
        };
        let times = (redis.timeout, redis.sync, redis.lease);
        assert_eq!(times, (SECOND, sync(), lease()));
        assert_eq!(redis.prefix, "berth");
        let config = from_text("placement: { attempts: 2 }").unwrap().config;
        assert!(matches!(config.placement.ledger, Ledger::Memory {}));
    }

    #[test]
    fn settings_of_another_kind_and_bad_values_are_faults() {
        assert_eq!(
            faults("kind: memory, url: { env: URL }"),
            "placement.ledger.url: unknown field"
        );
        assert_eq!(faults("kind: redis"), "placement.ledger.url: is missing");
        assert_eq!(
            faults(
                "kind: redis, url: { env: URL }, prefix: '{x}', timeout: 1ms, sync: 5s, lease: 15s"
            ),
            "placement.ledger.lease: must be four times placement.ledger.sync or more\n\
             placement.ledger.prefix: must be 1 to 64 visible ASCII characters without braces\n\
             placement.ledger.timeout: must be 50ms to 30s, not 1ms"
        );
    }

    #[test]
    fn the_fault_of_an_invalid_url_hides_its_password() {
        let text = "placement: { ledger: { kind: redis, url: { env: URL } } }";
        let config = from_text(text).unwrap().config;
        let env = |name: &str| {
            Some(if name == "URL" {
                "redis:/:hidden@x".into()
            } else {
                "k".repeat(40)
            })
        };
        let faults = secrets::fetch(&config, &env).err().unwrap().to_string();
        assert_eq!(
            faults,
            "placement.ledger.url: the URL contains an @ after the host: write / ? @ in a user name or password as %2F %3F %40"
        );
    }
}
