//! From the configuration as written to the validated one: ranges, and rules between fields. Collects every error with
//! the path of its field; quotes no secret.

mod routes;
mod tokens;

use super::schema::{self, Duration};
use super::{Config, ConfigErrors, Service};
use crate::auth::token_cache;
use crate::control::events::{self, POLL_MARGIN_MS};
use crate::request;
use crate::request::cookie::is_cookie_octet;
use crate::request::origin::Origin;
use crate::request::path::has_dot_segment;
use crate::routing::{self, Action};
use berth_api::MAX_POLL_TIMEOUT_MS;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Maximum `service.timeout`: ended sessions are remembered for longer.
const MAX_TIMEOUT_MS: u32 = 30_000;
/// Maximum `close_timeout`.
const MAX_CLOSE_TIMEOUT_MS: u32 = 10_000;
/// Maximum `cache.entries`.
const MAX_CACHE_ENTRIES: u32 = 1_000_000;
/// Minimum `cache.bytes`: room for a token of 16 KB.
const MIN_CACHE_BYTES: u32 = 65_536;
/// Maximum `cache.bytes`: what fits into a VM.
const MAX_CACHE_BYTES: u32 = 268_435_456;
/// Maximum `cache.ttl`: a changed role must take effect within it.
const MAX_CACHE_TTL_MS: u32 = 30_000;

/// Collects errors.
struct Errors(Vec<String>);

impl Errors {
    fn add(&mut self, field: &str, error: &str) {
        self.0.push(format!("{field}: {error}"));
    }

    fn require(&mut self, valid: bool, field: &str, error: &str) {
        if !valid {
            self.add(field, error);
        }
    }

    /// The duration in milliseconds, which must be in `range`.
    fn require_ms(
        &mut self,
        duration: Duration,
        range: RangeInclusive<u32>,
        field: &str,
        error: &str,
    ) -> u32 {
        let ms = u32::try_from(duration.as_ms()).unwrap_or(u32::MAX);
        self.require(range.contains(&ms), field, error);
        ms
    }
}

pub(super) fn validate(
    raw: schema::Config,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let mut errors = Errors(Vec::new());
    let service = service(raw.service, env, &mut errors);
    errors.require(is_token(&raw.cookie), "cookie", "is no cookie name");
    errors.require(
        is_path(&raw.login_path),
        "login_path",
        "must be a path without a query",
    );
    for (i, prefix) in raw.api_prefixes.iter().enumerate() {
        let field = format!("api_prefixes[{i}]");
        errors.require(is_path(prefix), &field, "must be a path");
    }
    for (i, name) in raw.strip_headers.iter().enumerate() {
        let field = format!("strip_headers[{i}]");
        errors.require(is_token(name), &field, "is no header name");
        errors.require(
            !request::is_read(name),
            &field,
            "cannot be stripped: decisions use it",
        );
    }
    let origins = origins(&raw.origins, &mut errors);
    let routes = routes::validate(raw.routes, &mut errors);
    let hosts = routes.iter().filter_map(|route| route.host.as_deref());
    let hosts: BTreeSet<&str> = hosts.chain([""]).collect();
    for host in hosts {
        if let Some((_, route)) = routing::find(&routes, host, &raw.login_path)
            && route.action != Action::Bypass
        {
            let error = format!(
                "its route has the action {}: nobody could log in",
                route.action.as_str()
            );
            errors.add("login_path", &error);
        }
    }
    let (keys, jwks) = tokens::validate(raw.tokens, env, &mut errors);
    let events = events(&raw.events, &mut errors);
    let takes_plain_requests = routes.iter().any(|route| route.plain_http);
    let (cache, engine_cache) = caches(&raw.cache, takes_plain_requests, &mut errors);
    let close_timeout_ms = errors.require_ms(
        raw.close_timeout,
        1..=MAX_CLOSE_TIMEOUT_MS,
        "close_timeout",
        "must be 1ms to 10s",
    );
    if errors.0.is_empty() {
        Ok(Config {
            service,
            cookie: raw.cookie,
            login_path: raw.login_path,
            api_prefixes: raw.api_prefixes,
            origins,
            strip_headers: raw.strip_headers,
            routes,
            keys,
            jwks,
            events,
            cache,
            engine_cache,
            close_timeout_ms,
        })
    } else {
        Err(ConfigErrors(errors.0))
    }
}

fn service(
    raw: schema::Service,
    env: &dyn Fn(&str) -> Option<String>,
    errors: &mut Errors,
) -> Service {
    errors.require(!raw.cluster.is_empty(), "service.cluster", "is empty");
    errors.require(
        is_visible(&raw.authority),
        "service.authority",
        "is no host name",
    );
    let timeout_ms = errors.require_ms(
        raw.timeout,
        1..=MAX_TIMEOUT_MS,
        "service.timeout",
        "must be 1ms to 30s",
    );
    let (field, secret) = match (raw.secret, raw.secret_env) {
        (Some(_), Some(_)) => {
            errors.add("service", "has both secret and secret_env");
            ("service.secret", None)
        }
        (None, Some(name)) => {
            let secret = env(&name);
            if secret.is_none() {
                let error = format!("the environment variable {name} is not set");
                errors.add("service.secret_env", &error);
            }
            ("service.secret_env", secret)
        }
        (secret, None) => ("service.secret", secret.map(|secret| secret.0)),
    };
    let authorization = secret.map(|secret| {
        errors.require(is_visible(&secret), field, "must be visible ASCII");
        format!("Bearer {secret}")
    });
    Service {
        cluster: raw.cluster,
        authority: raw.authority,
        timeout_ms,
        authorization,
    }
}

fn events(raw: &schema::Events, errors: &mut Errors) -> events::Settings {
    let poll_timeout_ms = errors.require_ms(
        raw.poll_timeout,
        100..=MAX_POLL_TIMEOUT_MS,
        "events.poll_timeout",
        "must be 100ms to 25s",
    );
    let stale_after_ms = errors.require_ms(
        raw.stale_after,
        poll_timeout_ms.saturating_add(POLL_MARGIN_MS)..=u32::MAX,
        "events.stale_after",
        "must be at least 2s above events.poll_timeout: without events a response comes only when a poll ends",
    );
    events::Settings {
        poll_timeout_ms,
        stale_after_ms,
    }
}

/// The bounds of the cache of tokens, and of the cache of the engines of plain requests. Where there are such requests,
/// each cache gets half.
fn caches(
    raw: &schema::Cache,
    takes_plain_requests: bool,
    errors: &mut Errors,
) -> (token_cache::Settings, token_cache::Settings) {
    errors.require(
        raw.entries <= MAX_CACHE_ENTRIES,
        "cache.entries",
        "must be at most 1000000",
    );
    errors.require(
        raw.entries == 0 || (MIN_CACHE_BYTES..=MAX_CACHE_BYTES).contains(&raw.bytes),
        "cache.bytes",
        "must be 65536 to 268435456",
    );
    let ttl_ms = errors.require_ms(
        raw.ttl,
        1..=MAX_CACHE_TTL_MS,
        "cache.ttl",
        "must be 1ms to 30s",
    );
    let all = token_cache::Settings {
        entries: raw.entries as usize,
        bytes: raw.bytes as usize,
        ttl_ms: ttl_ms.into(),
    };
    let half = token_cache::Settings {
        entries: all.entries.div_ceil(2),
        bytes: all.bytes / 2,
        ..all
    };
    if takes_plain_requests {
        (half, half)
    } else {
        (all, token_cache::Settings { entries: 0, ..all })
    }
}

fn origins(raw: &[String], errors: &mut Errors) -> Vec<Origin> {
    let mut origins = Vec::new();
    for (i, text) in raw.iter().enumerate() {
        match Origin::parse(text) {
            Some(origin) => origins.push(origin),
            None => errors.add(
                &format!("origins[{i}]"),
                "is no origin such as https://app.example.com",
            ),
        }
    }
    origins
}

/// A path that can be compared with request paths: absolute, visible, without query and dot segments.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
        && is_visible(text)
        && !text.contains(['?', '#'])
        && !has_dot_segment(text)
}

fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A token ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2), section 5.6.2): the form of header names
/// and cookie names.
fn is_token(text: &str) -> bool {
    let separators = b"()<>@,;:\\\"/[]?={}";
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| is_cookie_octet(byte) && !separators.contains(&byte))
}
