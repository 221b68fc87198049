//! What a well-typed configuration may still get wrong: values out of range, names that do not meet,
//! settings that exclude one another.

use super::fault::Fault;
use super::{
    Algorithm, Config, Driver, Key, SameSite, api, compat, events, fleet, http, login, oidc, pool,
    security_events, session, store, tokens, webhooks,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// The secret of `config/demo.yaml`.
const DEMO_SECRET: &str = "berth-demo-secret-known-to-everybody";

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// Every fault, and what is allowed but worth a word.
pub(super) fn all(config: &Config) -> (Vec<Fault>, Vec<String>) {
    let mut faults = Faults::default();
    if crate::telemetry::filter(&config.log.level).is_err() {
        faults.add(
            "log.level",
            "must be a filter such as info or berth_placement=debug,info",
        );
    }
    store::check(&config.store, &mut faults);
    session::check(&config.session, &mut faults);
    events::check(&config.events, &mut faults);
    login::check(&config.login, &mut faults);
    oidc::check(&config.oidc, config.login.local, &mut faults);
    tokens::check(&config.tokens, &mut faults);
    api::check(&config.api, &mut faults);
    compat::check(&config.compat, &mut faults);
    http::check(&config.http, &mut faults);
    webhooks::check(config, &mut faults);
    security_events::check(config, &mut faults);
    fleet::check(config, &mut faults);
    for (index, pool) in config.pools.iter().enumerate() {
        pool::check(&format!("pools[{index}]"), pool, &mut faults);
    }
    faults.unique("pools", config.pools.iter().map(|p| p.name.as_str()));
    for (index, route) in config.routes.iter().enumerate() {
        pool::check_route(&format!("routes[{index}]"), route, config, &mut faults);
    }
    (faults.0, warnings(config))
}

#[derive(Default)]
pub(super) struct Faults(pub(super) Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault::new(path, message));
    }

    pub(super) fn within(&mut self, path: &str, value: Duration, least: Duration, most: Duration) {
        if value < least || value > most {
            let (least, most) = (human(least), human(most));
            self.add(
                path,
                format!("must be {least} to {most}, not {}", human(value)),
            );
        }
    }

    pub(super) fn counts(&mut self, path: &str, value: u32, most: u32) {
        if value < 1 || value > most {
            self.add(path, format!("must be 1 to {most}, not {value}"));
        }
    }

    pub(super) fn unique<'a>(&mut self, list: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let message = format!("the name {name:?} is taken already");
                self.add(format!("{list}[{index}].name"), message);
            }
        }
    }

    pub(super) fn name(&mut self, path: &str, text: &str) {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 128 || !text.chars().all(fine) {
            self.add(path, "must be 1 to 128 letters, digits and - _ .");
        }
    }
}

fn human(duration: Duration) -> humantime_serde::re::humantime::FormattedDuration {
    humantime_serde::re::humantime::format_duration(duration)
}

fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let demo = |key: &Key| matches!(key, Key::Inline(secret) if secret.reveal() == DEMO_SECRET);
    if demo(&config.tokens.key) || config.gateways.secret.as_ref().is_some_and(demo) {
        warnings.push("the demo secret is in use: everybody knows it".to_owned());
    }
    if !config.session.cookie.secure {
        warnings
            .push("session.cookie.secure is false: for http on a local machine only".to_owned());
    }
    let idle = config.session.idle_timeout;
    if let Some(child) = config.session.child_idle_timeout
        && child != idle
    {
        let (child, idle) = (human(child), human(idle));
        warnings.push(format!(
            "session.child_idle_timeout is {child}, session.idle_timeout {idle}: one of a family may end before the other"
        ));
    }
    if config.gateways.secret.is_none() && !config.listen.ip().is_loopback() {
        let listen = config.listen;
        warnings.push(format!("gateways.secret is null and {listen} is no loopback: anyone who reaches it is a gateway"));
    }
    if !config.oidc.is_empty() && config.login.public_url.is_none() {
        warnings.push(
            "login.public_url is null: the addresses for OpenID providers follow the Host header"
                .to_owned(),
        );
    }
    if !config.oidc.is_empty() && config.session.cookie.same_site == SameSite::Strict {
        warnings.push(
            "session.cookie.same_site is strict: the first page after a login by a provider comes without the cookie"
                .to_owned(),
        );
    }
    if config.pools.is_empty() || config.routes.is_empty() {
        warnings.push("no pools or no routes: nothing can be placed".to_owned());
    }
    if config.tokens.lifetime > config.session.absolute_timeout {
        warnings.push("tokens.lifetime is longer than a session can be".to_owned());
    }
    let asymmetric = config.tokens.algorithm != Algorithm::Hs256;
    let qix = config.pools.iter().any(|pool| pool.driver == Driver::Qix);
    if asymmetric && qix {
        warnings.push(
            "a QIX engine wants RS256 or HS256 as it is configured: check JsonWebTokenSecret"
                .to_owned(),
        );
    }
    warnings
}
