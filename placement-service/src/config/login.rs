//! Logging in: where it leads, who may ask, and how often.

use super::checks::{DAY, Faults, SECOND};
use crate::core::return_to::ReturnTo;
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Where a login goes that named no `return_to`.
    pub default_return_to: String,
    /// Origins besides the request's own host that may post the login form.
    pub trusted_origins: Vec<String>,
    /// How many proxies in front write `X-Forwarded-For`; 0: the peer is the client.
    pub trusted_proxies: u32,
    /// Logins of one client address; `None`: as many as it likes.
    pub rate: Option<LoginRate>,
    pub lockout: Lockout,
    /// Whether accounts of this service may log in.
    pub local: bool,
    /// Where browsers find this site, such as `https://app.example.com`.
    pub public_url: Option<String>,
}

/// How many logins one client address may try.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRate {
    /// In the long run.
    pub per_minute: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// What failed logins in a row do to an account (S20).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockout {
    /// Failures in a row that lock it.
    pub max_failures: u32,
    /// For how long at first; each failure after that locks it twice as long.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// For how long at the most.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

pub(super) fn check(login: &Login, faults: &mut Faults) {
    if ReturnTo::parse(&login.default_return_to).is_none() {
        faults.add(
            "login.default_return_to",
            "must be a path of this site, such as /",
        );
    }
    for (index, origin) in login.trusted_origins.iter().enumerate() {
        if !is_origin(origin) {
            let path = format!("login.trusted_origins[{index}]");
            faults.add(path, "must be an origin such as https://app.example.com");
        }
    }
    if login.trusted_proxies > 16 {
        faults.add("login.trusted_proxies", "must be 0 to 16");
    }
    if let Some(rate) = &login.rate {
        faults.counts("login.rate.per_minute", rate.per_minute, 1_000_000);
        faults.counts("login.rate.burst", rate.burst, 1_000_000);
    }
    let lockout = &login.lockout;
    faults.counts("login.lockout.max_failures", lockout.max_failures, 1_000);
    faults.within("login.lockout.initial", lockout.initial, SECOND, DAY);
    faults.within("login.lockout.max", lockout.max, SECOND, 30 * DAY);
    if lockout.initial > lockout.max {
        faults.add(
            "login.lockout.initial",
            "must not be longer than login.lockout.max",
        );
    }
    if login
        .public_url
        .as_deref()
        .is_some_and(|url| !is_origin(url))
    {
        faults.add(
            "login.public_url",
            "must be an origin such as https://app.example.com",
        );
    }
}

/// `scheme://host[:port]` in lower case, as browsers send it (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|authority| {
        let allowed =
            |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' | b'[' | b']');
        !authority.is_empty() && authority.bytes().all(allowed)
    })
}
