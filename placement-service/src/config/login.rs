//! Settings of login: redirect targets, trusted origins and proxies, rate limits and lockout.

use super::Config;
use super::fault_collector::{DAY, FaultCollector, SECOND};
use crate::core::return_to::ReturnTo;
use serde::Deserialize;
use std::time::Duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The target of a login without `return_to`.
    pub default_return_to: String,
    /// Origins that may post the login form, besides the host of the request.
    pub trusted_origins: Vec<String>,
    /// Number of proxies in front that append to `X-Forwarded-For`; 0: the peer is the client.
    pub trusted_proxies: u32,
    /// Limit of logins per client address; `None`: no limit.
    pub rate: Option<LoginRate>,
    pub lockout: Lockout,
    /// Whether local accounts may log in.
    pub local: bool,
    /// The origin of this site for browsers, such as `https://app.example.com`.
    pub public_url: Option<String>,
}

/// A token bucket of login attempts per client address.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRate {
    /// The refill rate.
    pub per_minute: u32,
    /// The size of the bucket.
    pub burst: u32,
}

/// How consecutive failed logins lock an account.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lockout {
    /// Consecutive failures until the lock.
    pub max_failures: u32,
    /// The duration of the first lock; each further failure doubles it.
    #[serde(with = "humantime_serde")]
    pub initial: Duration,
    /// The maximum duration.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Config {
    /// Whether browsers reach this site over https: by `login.public_url`, else by the attribute of its cookies.
    #[must_use]
    pub fn is_https_site(&self) -> bool {
        match &self.login.public_url {
            Some(url) => url.starts_with("https://"),
            None => self.session.cookie.secure,
        }
    }
}

pub(super) fn check(config: &Config, faults: &mut FaultCollector) {
    let login = &config.login;
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
        faults.check_count("login.rate.per_minute", rate.per_minute, 1_000_000);
        faults.check_count("login.rate.burst", rate.burst, 1_000_000);
    }
    let lockout = &login.lockout;
    faults.check_count("login.lockout.max_failures", lockout.max_failures, 1_000);
    faults.check_range("login.lockout.initial", lockout.initial, SECOND, DAY);
    faults.check_range("login.lockout.max", lockout.max, SECOND, 30 * DAY);
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

/// Somebody must be able to log in.
pub(super) fn check_local(config: &Config, faults: &mut FaultCollector) {
    if !config.login.local && config.oidc.is_empty() {
        faults.add(
            "login.local",
            "must be true while oidc has no provider: nobody could log in",
        );
    }
}

/// Whether the text is `scheme://host[:port]` in lower case, as browsers send it (RFC 6454 section 6.2).
pub(super) fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|authority| {
        let allowed =
            |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' | b'[' | b']');
        !authority.is_empty() && authority.bytes().all(allowed)
    })
}
