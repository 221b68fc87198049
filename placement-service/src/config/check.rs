//! The checks of the whole configuration: calls the checks of each section, and collects the warnings about
//! combinations that are valid but risky.

use super::fault::Fault;
use super::fault_collector::{FaultCollector, format_duration};
use super::{
    Algorithm, Config, Driver, SameSite, SecretSource, api, compat, edge, events, fleet, http,
    login, oidc, pool, security_events, session, store, tokens, webhooks,
};

/// Every fault, and every warning.
pub(super) fn check_all(config: &Config) -> (Vec<Fault>, Vec<String>) {
    let mut faults = FaultCollector::default();
    if crate::core::log_filter::parse_log_filter(&config.log.level).is_err() {
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
    edge::check(config, &mut faults);
    webhooks::check(config, &mut faults);
    security_events::check(config, &mut faults);
    fleet::check(config, &mut faults);
    for (index, pool) in config.pools.iter().enumerate() {
        pool::check(&format!("pools[{index}]"), pool, &mut faults);
    }
    faults.check_unique_names("pools", config.pools.iter().map(|p| p.name.as_str()));
    for (index, route) in config.routes.iter().enumerate() {
        pool::check_route(&format!("routes[{index}]"), route, config, &mut faults);
    }
    (faults.0, warnings(config))
}

fn warnings(config: &Config) -> Vec<String> {
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
    if config.gateways.secret.is_none() && !config.listen.ip().is_loopback() {
        let listen = config.listen;
        warnings.push(format!("gateways.secret is null and {listen} is not a loopback address: anyone who can connect can act as a gateway"));
    }
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
    if config.pools.is_empty() || config.routes.is_empty() {
        warnings.push("no pools or no routes: nothing can be placed".to_owned());
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
