//! From the configuration as written to the one that is used: what the values mean, and whether they
//! fit together. Collects every fault with its field's path; quotes no secret.

use super::raw::Permission;
use super::{Config, Faults, Jwks, Service, raw};
use crate::cache;
use crate::cookie::is_cookie_octet;
use crate::feed::{self, BEYOND_HOLD_MS};
use crate::origin::Origin;
use crate::request;
use crate::route::{self, Action, MaxAge, Pattern, Route};
use crate::token::{Key, Keys};
use berth_api::MAX_HOLD_MS;

/// Milliseconds that a callout may take at the most: ends of sessions are remembered for longer.
const MAX_TIMEOUT_MS: u32 = 30_000;
/// Milliseconds that a WebSocket which must end may be given at the most.
const MAX_CLOSE_GRACE_MS: u32 = 10_000;
/// The share of its age by which a WebSocket may close earlier, where a route does not say.
const MAX_AGE_JITTER: f64 = 0.1;

/// Entries that the cache may have.
const MAX_CACHE_ENTRIES: u32 = 1_000_000;
/// Bytes that the cache may have: a token of 16 KB fits into the least, and the most fits into a VM.
const MIN_CACHE_BYTES: u32 = 65_536;
/// See [`MIN_CACHE_BYTES`].
const MAX_CACHE_BYTES: u32 = 268_435_456;
/// Seconds that a token may be used without the service being asked: a role that has changed must show.
const MAX_CACHE_TTL_S: u32 = 30;

/// A fault's place and words go in here.
struct Report(Vec<String>);

impl Report {
    fn add(&mut self, field: &str, fault: &str) {
        self.0.push(format!("{field}: {fault}"));
    }

    fn require(&mut self, sound: bool, field: &str, fault: &str) {
        if !sound {
            self.add(field, fault);
        }
    }
}

pub(super) fn check(
    raw: raw::Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Faults> {
    let mut report = Report(Vec::new());
    let service = service(raw.service, &mut report);
    report.require(is_token(&raw.cookie), "cookie", "is no cookie name");
    report.require(
        is_path(&raw.login_path),
        "login_path",
        "must be a path without a query",
    );
    for (i, prefix) in raw.api_prefixes.iter().enumerate() {
        report.require(
            is_path(prefix),
            &format!("api_prefixes[{i}]"),
            "must be a path",
        );
    }
    for (i, name) in raw.trust_headers.iter().enumerate() {
        let field = format!("trust_headers[{i}]");
        report.require(is_token(name), &field, "is no header's name");
        report.require(
            !request::is_read(name),
            &field,
            "cannot be taken off: requests are read by it",
        );
    }
    let origins = origins(&raw.origins, &mut report);
    let routes = routes(raw.routes, &mut report);
    if let Some((_, route)) = route::find(&routes, &raw.login_path)
        && route.action != Action::Bypass
    {
        let fault = format!(
            "its route has the action {}: nobody could log in",
            route.action.as_str()
        );
        report.add("login_path", &fault);
    }
    let (keys, jwks) = tokens(raw.tokens, env, &mut report);
    let feed = feed(&raw.feed, &mut report);
    let cache = cache(&raw.cache, &mut report);
    report.require(
        (1..=MAX_CLOSE_GRACE_MS).contains(&raw.close_grace_ms),
        "close_grace_ms",
        "must be 1 to 10000",
    );
    if report.0.is_empty() {
        Ok(Config {
            service,
            cookie: raw.cookie,
            login_path: raw.login_path,
            api_prefixes: raw.api_prefixes,
            origins,
            trust_headers: raw.trust_headers,
            routes,
            keys,
            jwks,
            feed,
            cache,
            close_grace_ms: raw.close_grace_ms,
        })
    } else {
        Err(Faults(report.0))
    }
}

fn service(raw: raw::Service, report: &mut Report) -> Service {
    report.require(!raw.cluster.is_empty(), "service.cluster", "is empty");
    report.require(
        is_visible(&raw.authority),
        "service.authority",
        "is no host name",
    );
    report.require(
        (1..=MAX_TIMEOUT_MS).contains(&raw.timeout_ms),
        "service.timeout_ms",
        "must be 1 to 30000",
    );
    let authorization = raw.secret.map(|secret| {
        report.require(
            is_visible(&secret.0),
            "service.secret",
            "must be visible ASCII",
        );
        format!("Bearer {}", secret.0)
    });
    Service {
        cluster: raw.cluster,
        authority: raw.authority,
        timeout_ms: raw.timeout_ms,
        authorization,
    }
}

fn feed(raw: &raw::Feed, report: &mut Report) -> feed::Settings {
    report.require(
        (100..=MAX_HOLD_MS).contains(&raw.hold_ms),
        "feed.hold_ms",
        "must be 100 to 25000",
    );
    report.require(
        raw.lost_after_ms >= raw.hold_ms.saturating_add(BEYOND_HOLD_MS),
        "feed.lost_after_ms",
        "must be 2000 above feed.hold_ms or more: in quiet times no news is heard until a poll ends",
    );
    feed::Settings {
        hold_ms: raw.hold_ms,
        lost_after_ms: raw.lost_after_ms,
    }
}

fn cache(raw: &raw::Cache, report: &mut Report) -> cache::Settings {
    report.require(
        raw.entries <= MAX_CACHE_ENTRIES,
        "cache.entries",
        "must be 1000000 at the most",
    );
    report.require(
        raw.entries == 0 || (MIN_CACHE_BYTES..=MAX_CACHE_BYTES).contains(&raw.bytes),
        "cache.bytes",
        "must be 65536 to 268435456",
    );
    report.require(
        (1..=MAX_CACHE_TTL_S).contains(&raw.ttl_s),
        "cache.ttl_s",
        "must be 1 to 30",
    );
    cache::Settings {
        entries: raw.entries as usize,
        bytes: raw.bytes as usize,
        ttl_ms: u64::from(raw.ttl_s).saturating_mul(1000),
    }
}

fn origins(raw: &[String], report: &mut Report) -> Vec<Origin> {
    let mut origins = Vec::new();
    for (i, text) in raw.iter().enumerate() {
        match Origin::parse(text) {
            Some(origin) => origins.push(origin),
            None => report.add(
                &format!("origins[{i}]"),
                "is no origin such as https://app.example.com",
            ),
        }
    }
    origins
}

fn routes(raw: Vec<raw::Route>, report: &mut Report) -> Vec<Route> {
    report.require(
        !raw.is_empty(),
        "routes",
        "is empty: every request would get 404",
    );
    let mut routes = Vec::new();
    for (i, route) in raw.into_iter().enumerate() {
        let pattern = match (&route.prefix, &route.path) {
            (Some(prefix), None) if is_path(prefix) => Pattern::Below(prefix.clone()),
            (None, Some(path)) if is_path(path) => Pattern::Exact(path.clone()),
            (Some(_), None) | (None, Some(_)) => {
                report.add(&format!("routes[{i}]"), "must be a path without a query");
                continue;
            }
            _ => {
                report.add(&format!("routes[{i}]"), "needs prefix or path, one of them");
                continue;
            }
        };
        let action = route.action;
        let bearer = route.bearer == Permission::Allow;
        let anonymous = route.anonymous == Permission::Allow;
        report.require(
            !bearer || action != Action::Bypass,
            &format!("routes[{i}].bearer"),
            "a bypass route looks at no token",
        );
        report.require(
            !anonymous || action == Action::Authenticate,
            &format!("routes[{i}].anonymous"),
            "is for authenticate routes: bypass asks nobody who he is, and an engine serves nobody without a token",
        );
        let max_age = max_age(i, &route, report);
        routes.push(Route {
            pattern,
            action,
            bearer,
            anonymous,
            max_age,
        });
    }
    routes
}

/// How old a route's WebSockets may become; 0 is no limit.
fn max_age(i: usize, route: &raw::Route, report: &mut Report) -> Option<MaxAge> {
    let limit = route.max_age_s.filter(|age| *age > 0);
    report.require(
        limit.is_none() || route.action == Action::Place,
        &format!("routes[{i}].max_age_s"),
        "is for place routes: elsewhere no WebSocket is looked after",
    );
    let jitter = route.max_age_jitter.unwrap_or(MAX_AGE_JITTER);
    report.require(
        (0.0..=1.0).contains(&jitter),
        &format!("routes[{i}].max_age_jitter"),
        "must be 0 to 1",
    );
    let ms = u64::from(limit?).saturating_mul(1000);
    Some(MaxAge { ms, jitter })
}

fn tokens(
    raw: raw::Tokens,
    env: &dyn Fn(&str) -> Option<String>,
    report: &mut Report,
) -> (Keys, Option<Jwks>) {
    report.require(!raw.issuer.is_empty(), "tokens.issuer", "is empty");
    report.require(!raw.audience.is_empty(), "tokens.audience", "is empty");
    report.require(
        raw.leeway_s <= 300,
        "tokens.leeway_s",
        "must be 300 at the most",
    );
    report.require(
        !raw.keys.is_empty() || raw.jwks.is_some(),
        "tokens",
        "has neither keys nor jwks: no token could be checked",
    );
    let mut keys = Vec::new();
    for (i, raw) in raw.keys.into_iter().enumerate() {
        match key(raw, env) {
            Ok(key) => keys.push(key),
            Err(fault) => report.add(&format!("tokens.keys[{i}]"), &fault),
        }
    }
    let jwks = raw.jwks.map(|jwks| {
        report.require(is_path(&jwks.path), "tokens.jwks.path", "must be a path");
        report.require(
            jwks.refresh_s > 0,
            "tokens.jwks.refresh_s",
            "must be more than 0",
        );
        Jwks {
            path: jwks.path,
            refresh_ms: u64::from(jwks.refresh_s).saturating_mul(1000),
        }
    });
    (
        Keys::new(keys, &raw.issuer, &raw.audience, raw.leeway_s),
        jwks,
    )
}

fn key(raw: raw::Key, env: &dyn Fn(&str) -> Option<String>) -> Result<Key, String> {
    let secret = match (raw.secret, raw.secret_env, raw.jwk) {
        (Some(secret), None, None) => secret.0,
        (None, Some(name), None) => {
            env(&name).ok_or_else(|| format!("the environment variable {name} is not set"))?
        }
        (None, None, Some(_)) if raw.kid.is_some() || raw.alg.is_some() => {
            return Err("a jwk says kid and alg itself".to_owned());
        }
        (None, None, Some(jwk)) => return Key::from_jwk(jwk).map_err(str::to_owned),
        _ => return Err("needs secret, secret_env or jwk, one of them".to_owned()),
    };
    match raw.alg.as_deref() {
        Some("HS256") => Key::from_secret(raw.kid, secret.as_bytes()).map_err(str::to_owned),
        Some(_) => Err("a secret works with the alg HS256 only; others take a jwk".to_owned()),
        None => Err("alg is missing".to_owned()),
    }
}

/// A path that can be compared with others: absolute, visible, no query, no dot segment.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && is_visible(text)
        && !text.contains(['?', '#'])
        && !route::has_dot_segment(text)
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A token in the sense of RFC 9110, section 5.6.2: header names and cookie names.
fn is_token(text: &str) -> bool {
    let separators = b"()<>@,;:\\\"/[]?={}";
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| is_cookie_octet(byte) && !separators.contains(&byte))
}
