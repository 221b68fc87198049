//! Sessions: their cookie and how long they last.

use super::check::{DAY, Faults, SECOND};
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
    /// The name of this service among runtimes that share a store.
    pub runtime: String,
    pub per_account: PerAccount,
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

/// How many sessions an account may have at once (S25). Those that a session has started do not count.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerAccount {
    /// `None`: as many as it likes.
    pub limit: Option<u32>,
    pub when_full: WhenFull,
}

/// What becomes of a login to an account that has as many sessions as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// It is refused.
    Reject,
    /// The oldest session ends for it.
    EndOldest,
}

/// The login cookie: `__Host-berth` when secure, `berth` otherwise (S8).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cookie {
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
    faults.name("session.runtime", &session.runtime);
    if let Some(limit) = session.per_account.limit {
        faults.counts("session.per_account.limit", limit, 100_000);
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
    if session.cookie.same_site == SameSite::None && !session.cookie.secure {
        faults.add(
            "session.cookie.same_site",
            "none needs session.cookie.secure: true",
        );
    }
}
