//! What a well-typed configuration may still get wrong: values out of range, names that do not meet,
//! settings that exclude one another.

use super::fault::Fault;
use super::{Algorithm, Config, Discovery, Driver, Key, Open, Pool, Route, SameSite, Strategy};
use crate::return_to::ReturnTo;
use std::collections::BTreeSet;
use std::time::Duration;

/// The secret of `config/demo.yaml`.
const DEMO_SECRET: &str = "berth-demo-secret-known-to-everybody";

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Every fault, and what is allowed but worth a word.
pub(super) fn all(config: &Config) -> (Vec<Fault>, Vec<String>) {
    let mut faults = Faults::default();
    if crate::telemetry::filter(&config.log.level).is_err() {
        faults.add(
            "log.level",
            "must be a filter such as info or berth_placement=debug,info",
        );
    }
    session(config, &mut faults);
    login(config, &mut faults);
    tokens(config, &mut faults);
    watching(config, &mut faults);
    for (index, pool) in config.pools.iter().enumerate() {
        one_pool(&format!("pools[{index}]"), pool, &mut faults);
    }
    faults.unique("pools", config.pools.iter().map(|p| p.name.as_str()));
    for (index, route) in config.routes.iter().enumerate() {
        one_route(&format!("routes[{index}]"), route, config, &mut faults);
    }
    (faults.0, warnings(config))
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault::new(path, message));
    }

    fn within(&mut self, path: &str, value: Duration, least: Duration, most: Duration) {
        if value < least || value > most {
            let (least, most) = (human(least), human(most));
            self.add(
                path,
                format!("must be {least} to {most}, not {}", human(value)),
            );
        }
    }

    fn counts(&mut self, path: &str, value: u32, most: u32) {
        if value < 1 || value > most {
            self.add(path, format!("must be 1 to {most}, not {value}"));
        }
    }

    fn unique<'a>(&mut self, list: &str, names: impl Iterator<Item = &'a str>) {
        let mut seen = BTreeSet::new();
        for (index, name) in names.enumerate() {
            if !seen.insert(name) {
                let message = format!("the name {name:?} is taken already");
                self.add(format!("{list}[{index}].name"), message);
            }
        }
    }

    fn name(&mut self, path: &str, text: &str) {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.is_empty() || text.len() > 128 || !text.chars().all(fine) {
            self.add(path, "must be 1 to 128 letters, digits and - _ .");
        }
    }
}

fn human(duration: Duration) -> humantime_serde::re::humantime::FormattedDuration {
    humantime_serde::re::humantime::format_duration(duration)
}

fn session(config: &Config, faults: &mut Faults) {
    let session = &config.session;
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
    faults.within("session.cache", session.cache, Duration::ZERO, 60 * SECOND);
    if session.cookie.same_site == SameSite::None && !session.cookie.secure {
        faults.add(
            "session.cookie.same_site",
            "none needs session.cookie.secure: true",
        );
    }
}

fn login(config: &Config, faults: &mut Faults) {
    if ReturnTo::parse(&config.login.default_return_to).is_none() {
        faults.add(
            "login.default_return_to",
            "must be a path of this site, such as /",
        );
    }
    for (index, origin) in config.login.trusted_origins.iter().enumerate() {
        if !is_origin(origin) {
            let path = format!("login.trusted_origins[{index}]");
            faults.add(path, "must be an origin such as https://app.example.com");
        }
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

fn tokens(config: &Config, faults: &mut Faults) {
    let tokens = &config.tokens;
    faults.within("tokens.lifetime", tokens.lifetime, 10 * SECOND, DAY);
    for (path, text) in [
        ("tokens.issuer", &tokens.issuer),
        ("tokens.audience", &tokens.audience),
    ] {
        if text.is_empty() {
            faults.add(path, "must not be empty");
        }
    }
    if tokens.kid.as_deref() == Some("") {
        faults.add(
            "tokens.kid",
            "must not be empty; null names the key by its thumbprint",
        );
    }
}

fn watching(config: &Config, faults: &mut Faults) {
    let (probe, placement) = (&config.probe, &config.placement);
    let tenth = Duration::from_millis(100);
    faults.within("probe.interval", probe.interval, tenth, 3600 * SECOND);
    faults.within(
        "probe.timeout",
        probe.timeout,
        Duration::from_millis(10),
        60 * SECOND,
    );
    faults.counts("probe.failures", probe.failures, 1000);
    faults.counts("probe.successes", probe.successes, 1000);
    faults.within(
        "placement.deadline",
        placement.deadline,
        tenth,
        120 * SECOND,
    );
    faults.counts("placement.attempts", placement.attempts, 100);
    let engine_timeout = placement.engine_timeout;
    faults.within(
        "placement.engine_timeout",
        engine_timeout,
        Duration::from_millis(10),
        120 * SECOND,
    );
    if engine_timeout > placement.deadline {
        faults.add(
            "placement.engine_timeout",
            "must not be longer than placement.deadline",
        );
    }
    faults.within(
        "placement.reservation_ttl",
        placement.reservation_ttl,
        SECOND,
        3600 * SECOND,
    );
    faults.within(
        "shutdown_grace",
        config.shutdown_grace,
        Duration::ZERO,
        3600 * SECOND,
    );
}

fn one_pool(path: &str, pool: &Pool, faults: &mut Faults) {
    faults.name(&format!("{path}.name"), &pool.name);
    let visible = |b: u8| b.is_ascii_graphic();
    if pool.cluster.is_empty() || !pool.cluster.bytes().all(visible) {
        faults.add(
            format!("{path}.cluster"),
            "must be visible ASCII without spaces",
        );
    }
    if pool.strategy == Strategy::Weighted && pool.session_threshold.is_none() {
        faults.add(
            format!("{path}.session_threshold"),
            "is missing: strategy weighted needs it",
        );
    }
    if pool.session_threshold == Some(0) {
        faults.add(format!("{path}.session_threshold"), "must be 1 or more");
    }
    let Discovery::Fixed(engines) = &pool.discovery;
    let list = format!("{path}.discovery.fixed");
    for (index, engine) in engines.iter().enumerate() {
        faults.name(&format!("{list}[{index}].name"), &engine.name);
        if engine.port == 0 {
            faults.add(format!("{list}[{index}].port"), "must be 1 to 65535");
        }
        if engine.metrics_port == Some(0) {
            faults.add(
                format!("{list}[{index}].metrics_port"),
                "must be 1 to 65535",
            );
        }
        if engine.ip.is_unspecified() || engine.ip.is_multicast() {
            faults.add(
                format!("{list}[{index}].ip"),
                "must be the address of one machine",
            );
        }
    }
    faults.unique(&list, engines.iter().map(|engine| engine.name.as_str()));
    let mut seen = BTreeSet::new();
    for (index, engine) in engines.iter().enumerate() {
        if !seen.insert((engine.ip, engine.port)) {
            let message = "this address and port are another engine's already";
            faults.add(format!("{list}[{index}].port"), message);
        }
    }
}

fn one_route(path: &str, route: &Route, config: &Config, faults: &mut Faults) {
    let literal = route.path.strip_suffix("{document}").unwrap_or(&route.path);
    let rest_of_path = literal.len() < route.path.len();
    if !literal.starts_with('/') || literal.contains(['{', '}', '?', '#']) {
        let message = "must start with / and may end in {document}, without a query";
        faults.add(format!("{path}.path"), message);
    } else if rest_of_path && !literal.ends_with('/') {
        faults.add(format!("{path}.path"), "{document} must follow a /");
    }
    let Some(pool) = config.pools.iter().find(|pool| pool.name == route.pool) else {
        faults.add(
            format!("{path}.pool"),
            format!("there is no pool {:?}", route.pool),
        );
        return;
    };
    let open = format!("{path}.open");
    if pool.driver == Driver::Websocket && route.open != Open::Nothing {
        faults.add(&open, "a websocket pool opens nothing");
    }
    if let Open::Document(name) = &route.open {
        if name.is_empty() {
            faults.add(&open, "the document's name must not be empty");
        }
        if name.contains("{document}") && !rest_of_path {
            faults.add(&open, "uses {document}, which the path does not have");
        }
    }
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
    if config.gateways.secret.is_none() && !config.listen.ip().is_loopback() {
        let listen = config.listen;
        warnings.push(format!("gateways.secret is null and {listen} is no loopback: anyone who reaches it is a gateway"));
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
