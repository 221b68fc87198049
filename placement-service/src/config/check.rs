//! The checks of the whole configuration: calls the checks of each section, and collects the warnings about
//! combinations that are valid but risky.

use super::fault::Fault;
use super::fault_collector::{FaultCollector, SECOND, format_duration};
use super::{
    Algorithm, Config, Driver, SameSite, SecretSource, Store, api, compat, edge, events, fleet,
    http, login, oidc, pool, route, security_events, session, store, tls, tokens, webhooks,
};
use crate::core::log_filter::parse_log_filter;
use std::collections::BTreeSet;
use std::time::Duration;

/// The sections that a check reads, and the check.
type Check = (&'static [&'static str], fn(&Config, &mut FaultCollector));

const CHECKS: &[Check] = &[
    (&["log"], check_log),
    (&["store"], store::check),
    (&["session"], session::check),
    (&["events"], events::check),
    (&["webhooks"], webhooks::check),
    (&["webhooks", "tokens"], webhooks::check_tokens),
    (&["security_events"], security_events::check),
    (
        &["security_events", "oidc"],
        security_events::check_providers,
    ),
    (&["login"], login::check),
    (&["login", "oidc"], login::check_local),
    (&["oidc"], oidc::check),
    (&["tls"], tls::check),
    (&["tokens"], tokens::check),
    (&["api"], api::check),
    (&["probe"], fleet::check_probe),
    (&["placement"], fleet::check_placement),
    (&["placement", "pools"], fleet::check_queues),
    (&["pools"], pool::check_pools),
    (&["routes"], route::check_routes),
    (&["routes", "pools"], route::check_targets),
    (&["routes", "store"], route::check_store),
    (&["routes", "edge"], route::check_cache),
    (&["compat"], compat::check),
    (&["http"], http::check),
    (&["edge"], edge::check),
    (&["shutdown_grace"], check_shutdown_grace),
];

/// Every fault. A check that reads an unreadable section is left out: the configuration has the section's
/// defaults in its place, and faults in them are not the operator's.
pub(super) fn check_all(config: &Config, unreadable: &BTreeSet<String>) -> Vec<Fault> {
    let mut faults = FaultCollector::default();
    for (sections, check) in CHECKS {
        if !sections.iter().any(|name| unreadable.contains(*name)) {
            check(config, &mut faults);
        }
    }
    faults.0
}

fn check_log(config: &Config, faults: &mut FaultCollector) {
    if parse_log_filter(&config.log.level).is_err() {
        faults.add(
            "log.level",
            "must be a filter such as info or berth_placement=debug,info",
        );
    }
}

fn check_shutdown_grace(config: &Config, faults: &mut FaultCollector) {
    let grace = config.shutdown_grace;
    faults.check_range("shutdown_grace", grace, Duration::ZERO, 3600 * SECOND);
}

/// Combinations that are valid but risky.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let gateways = config.gateways.secret.as_ref();
    if config.tokens.key.is_demo_secret() || gateways.is_some_and(SecretSource::is_demo_secret) {
        warnings.push("the demo secret is in use: it is public".to_owned());
    }
    if !config.session.cookie.secure {
        warnings.push(
            "session.cookie.secure is false: use this only with http on a local machine".to_owned(),
        );
    }
    let idle = config.session.idle_timeout;
    if let Some(child) = config.session.child_idle_timeout
        && child != idle
    {
        let (child, idle) = (format_duration(child), format_duration(idle));
        warnings.push(format!(
            "session.child_idle_timeout is {child}, session.idle_timeout {idle}: parents and children may expire at different times"
        ));
    }
    let has_client_certificates = config.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    let gateways_are_known = config.gateways.secret.is_some() || has_client_certificates;
    if !gateways_are_known && !config.listen.ip().is_loopback() {
        let listen = config.listen;
        warnings.push(format!("gateways.secret is null and {listen} is not a loopback address: anyone who can connect can act as a gateway"));
    }
    warnings.extend(tls::warnings(config));
    if config.edge.tls.is_none() && !config.edge.listen.ip().is_loopback() {
        let listen = config.edge.listen;
        warnings.push(format!("edge.tls is null and {listen} is not a loopback address: a proxy in front of the edge must speak https with browsers"));
    }
    if config.edge.tls.is_some() && !config.session.cookie.secure {
        warnings.push(
            "edge.tls is set, but session.cookie.secure is false: browsers would send the cookie over http too"
                .to_owned(),
        );
    }
    if !config.oidc.is_empty() && config.login.public_url.is_none() {
        warnings.push(
            "login.public_url is null: redirect URLs for OpenID providers follow the Host header"
                .to_owned(),
        );
    }
    if !config.oidc.is_empty() && config.session.cookie.same_site == SameSite::Strict {
        warnings.push(
            "session.cookie.same_site is strict: browsers omit the cookie from the first page after an OpenID login"
                .to_owned(),
        );
    }
    let jwt_keys = match &config.store {
        Store::RedisJwt(jwt) => jwt.keys.as_slice(),
        _ => &[],
    };
    let lists = [
        ("store.keys", jwt_keys),
        (
            "compat.session_service.keys",
            &config.compat.session_service.keys,
        ),
    ];
    for (list, keys) in lists {
        for (index, _) in keys.iter().enumerate().filter(|(_, k)| k.allow_short_key) {
            warnings.push(format!(
                "{list}[{index}].allow_short_key is true: who guesses a short secret can sign any session"
            ));
        }
    }
    if config.pools.is_empty() || config.routes.is_empty() {
        warnings.push("no pools or no routes: nothing can be placed".to_owned());
    }
    route::warn_of_shared_hosts(config, &mut warnings);
    for (index, pool) in config.pools.iter().enumerate() {
        pool::add_warnings(&format!("pools[{index}]"), pool, &mut warnings);
    }
    if config.tokens.lifetime > config.session.absolute_timeout {
        warnings.push("tokens.lifetime is longer than session.absolute_timeout".to_owned());
    }
    let asymmetric = config.tokens.algorithm != Algorithm::Hs256;
    let qix = config.pools.iter().any(|pool| pool.driver == Driver::Qix);
    if asymmetric && qix {
        warnings.push(
            "a QIX engine accepts only the algorithm that it is configured for, RS256 or HS256: check JsonWebTokenSecret"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::DEFAULT;
    use serde_json::Value;

    #[test]
    fn checks_name_sections_of_the_configuration() {
        let defaults: Value = serde_saphyr::from_str(DEFAULT).unwrap();
        for name in CHECKS.iter().flat_map(|(sections, _)| *sections) {
            assert!(defaults.get(name).is_some(), "{name}");
        }
    }
}
