//! Sessions: their cookie and how long they last.

use super::checks::{DAY, Faults, SECOND};
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub cookie: Cookie,
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    #[serde(with = "humantime_serde")]
    pub absolute_timeout: Duration,
    /// Of child sessions; that of their parents when null.
    #[serde(with = "humantime_serde")]
    pub child_idle_timeout: Option<Duration>,
    /// The name of this service among runtimes that share a store.
    pub runtime: String,
    /// Sessions that an account may have at once, apart from child sessions; `None`: no limit.
    pub max_per_account: Option<u32>,
    pub on_limit: OnLimit,
    /// How long a looked-up session is served from memory.
    #[serde(with = "humantime_serde")]
    pub cache: Duration,
    pub sweep: Sweep,
    /// How often sessions are looked for whose parent is gone.
    #[serde(with = "humantime_serde")]
    pub reconcile: Duration,
}

/// Removing what has run out of time.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    /// Sessions removed in one step.
    pub batch: u32,
}

/// What becomes of a login to an account that has as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLimit {
    /// It is refused.
    Reject,
    /// The oldest session ends for it.
    EndOldest,
}

/// The login cookie: `__Host-berth` when secure, `berth` otherwise (S8).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
    /// Another name than these, so that runtimes on one host have cookies of their own.
    pub name: Option<String>,
    pub secure: bool,
    pub same_site: SameSite,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

pub(super) fn check(session: &Session, faults: &mut Faults) {
    faults.within(
        "session.idle_timeout",
        session.idle_timeout,
        SECOND,
        30 * DAY,
    );
    faults.within(
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
        faults.within("session.child_idle_timeout", child, SECOND, 30 * DAY);
    }
    faults.name("session.runtime", &session.runtime);
    if let Some(limit) = session.max_per_account {
        faults.counts("session.max_per_account", limit, 100_000);
    }
    faults.within("session.cache", session.cache, Duration::ZERO, 60 * SECOND);
    let least = Duration::from_millis(50);
    for (path, every) in [
        ("session.sweep.interval", session.sweep.interval),
        ("session.reconcile", session.reconcile),
    ] {
        faults.within(path, every, least, DAY / 24);
    }
    faults.counts("session.sweep.batch", session.sweep.batch, 10_000);
    check_cookie_name(&session.cookie, faults);
    if session.cookie.same_site == SameSite::None && !session.cookie.secure {
        faults.add(
            "session.cookie.same_site",
            "none needs session.cookie.secure: true",
        );
    }
}

/// Browsers keep a cookie with the prefix only when it is secure (RFC 6265bis section 4.1.3), and only with
/// it is the cookie safe from sibling hosts.
fn check_cookie_name(cookie: &Cookie, faults: &mut Faults) {
    let Some(name) = cookie.name.as_deref() else {
        return;
    };
    let path = "session.cookie.name";
    faults.name(path, name);
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
    if name == "berth-anon" {
        faults.add(path, "berth-anon is the anonymous cookie");
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
    fn a_cookie_has_a_name_that_browsers_keep() {
        let cookie = |name: &str, secure: bool| {
            let told = loaded(&format!(
                "{{ cookie: {{ name: {name}, secure: {secure} }} }}"
            ));
            told.err().unwrap_or_default()
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
            "session.cookie.name: berth-anon is the anonymous cookie"
        );
        assert_eq!(
            cookie("'a=b;'", false),
            "session.cookie.name: must be 1 to 128 letters, digits and - _ ."
        );
    }

    #[test]
    fn children_that_live_otherwise_than_their_parents_are_warned_of() {
        let child = |timeout: &str| {
            let told = loaded(&format!("{{ child_idle_timeout: {timeout} }}"));
            told.map(|warnings| {
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
                     one of a family may end before the other"
                    .to_owned()
            ])
        );
        assert_eq!(
            child("0s"),
            Err("session.child_idle_timeout: must be 1s to 30days, not 0s".to_owned())
        );
    }
}
