//! Settings of sessions: cookie, timeouts, limits and cleanup.

use super::Config;
use super::fault_collector::{DAY, FaultCollector, SECOND};
use serde::Deserialize;
use std::time::Duration;

/// The cookie of clients whose login cookie is stale, without the prefix `__Host-` of secure cookies.
pub const ANONYMOUS_NAME: &str = "berth-anon";

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub cookie: Cookie,
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub absolute_timeout: Duration,
    /// The idle timeout of child sessions; that of their parents when null.
    #[serde(with = "humantime_serde")]
    pub child_idle_timeout: Option<Duration>,
    /// The name of this service among runtimes that share a store.
    pub runtime: String,
    /// Maximum sessions of an account, child sessions excluded; `None`: no limit.
    pub max_per_account: Option<u32>,
    pub on_limit: OnLimit,
    /// How long a session is cached after it was read from the store.
    #[serde(with = "humantime_serde")]
    pub cache: Duration,
    pub cleanup: Cleanup,
    /// Interval of the search for sessions whose parent is gone.
    #[serde(with = "humantime_serde")]
    pub reconcile: Duration,
}

/// How expired sessions are removed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Sessions removed in one step.
    pub batch: u32,
}

/// What happens to a login to an account that has reached its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLimit {
    /// The login is refused.
    Reject,
    /// The oldest session ends.
    EndOldest,
}

/// The login cookie: `__Host-berth` if secure, `berth` otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    /// Another name, so that runtimes on one host have separate cookies.
    pub name: Option<String>,
    pub secure: bool,
    pub same_site: SameSite,
}

impl Cookie {
    /// The configured name, or the default.
    #[must_use]
    pub fn effective_name(&self) -> &str {
        let default = if self.secure { "__Host-berth" } else { "berth" };
        self.name.as_deref().unwrap_or(default)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let session = &config.session;
    faults.check_range(
        "session.idle_timeout",
        session.idle_timeout,
        SECOND,
        30 * DAY,
    );
    faults.check_range(
        "session.absolute_timeout",
        session.absolute_timeout,
        SECOND,
        365 * DAY,
    );
    if session.idle_timeout > session.absolute_timeout {
        faults.add(
            "session.idle_timeout",
            "must not be longer than session.absolute_timeout",
        );
    }
    if let Some(child) = session.child_idle_timeout {
        faults.check_range("session.child_idle_timeout", child, SECOND, 30 * DAY);
    }
    faults.check_name("session.runtime", &session.runtime);
    if let Some(limit) = session.max_per_account {
        faults.check_count("session.max_per_account", limit, 100_000);
    }
    faults.check_range("session.cache", session.cache, Duration::ZERO, 60 * SECOND);
    let min = Duration::from_millis(50);
    for (path, every) in [
        ("session.cleanup.interval", session.cleanup.interval),
        ("session.reconcile", session.reconcile),
    ] {
        faults.check_range(path, every, min, DAY / 24);
    }
    faults.check_count("session.cleanup.batch", session.cleanup.batch, 10_000);
    check_cookie_name(&session.cookie, faults);
    if session.cookie.same_site == SameSite::None && !session.cookie.secure {
        faults.add(
            "session.cookie.same_site",
            "none needs session.cookie.secure: true",
        );
    }
}

/// Checks the name against the rules of the `__Host-` prefix (RFC 6265bis section 4.1.3). Browsers accept the
/// prefix only on a secure cookie, and only the prefix protects the cookie from sibling hosts.
fn check_cookie_name(cookie: &Cookie, faults: &mut FaultCollector) {
    let Some(name) = cookie.name.as_deref() else {
        return;
    };
    let path = "session.cookie.name";
    faults.check_name(path, name);
    if cookie.secure && !name.starts_with("__Host-") {
        faults.add(
            path,
            "must begin with __Host- when session.cookie.secure is true",
        );
    }
    if !cookie.secure && name.starts_with("__") {
        faults.add(
            path,
            "must not begin with __ when session.cookie.secure is false",
        );
    }
    if name.strip_prefix("__Host-").unwrap_or(name) == ANONYMOUS_NAME {
        faults.add(path, format!("{name} is the name of the anonymous cookie"));
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load::from_text;

    fn loaded(session: &str) -> Result<Vec<String>, String> {
        let loaded = from_text(&format!("session: {session}"));
        let loaded = loaded.map_err(|faults| faults.to_string())?;
        Ok(loaded.warnings)
    }

    #[test]
    fn cookie_names_follow_the_prefix_rules() {
        let cookie = |name: &str, secure: bool| {
            let result = loaded(&format!(
                "{{ cookie: {{ name: {name}, secure: {secure} }} }}"
            ));
            result.err().unwrap_or_default()
        };
        assert_eq!(cookie("__Host-flows", true), "");
        assert_eq!(cookie("flows", false), "");
        assert_eq!(
            cookie("flows", true),
            "session.cookie.name: must begin with __Host- when session.cookie.secure is true"
        );
        assert_eq!(
            cookie("__Host-flows", false),
            "session.cookie.name: must not begin with __ when session.cookie.secure is false"
        );
        assert_eq!(
            cookie("berth-anon", false),
            "session.cookie.name: berth-anon is the name of the anonymous cookie"
        );
        assert_eq!(
            cookie("__Host-berth-anon", true),
            "session.cookie.name: __Host-berth-anon is the name of the anonymous cookie"
        );
        assert_eq!(
            cookie("'a=b;'", false),
            "session.cookie.name: must be 1 to 128 letters, digits and - _ ."
        );
    }

    #[test]
    fn different_timeouts_of_children_give_a_warning() {
        let child = |timeout: &str| {
            let result = loaded(&format!("{{ child_idle_timeout: {timeout} }}"));
            result.map(|warnings| {
                warnings
                    .into_iter()
                    .filter(|w| w.contains("child"))
                    .collect()
            })
        };
        assert_eq!(child("null"), Ok(vec![]));
        assert_eq!(child("30m"), Ok(vec![]));
        assert_eq!(
            child("10m"),
            Ok(vec![
                "session.child_idle_timeout is 10m, session.idle_timeout 30m: \
                     parents and children may expire at different times"
                    .to_owned()
            ])
        );
        assert_eq!(
            child("0s"),
            Err("session.child_idle_timeout: must be 1s to 30days, not 0s".to_owned())
        );
    }
}
