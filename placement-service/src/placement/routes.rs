//! The route table: maps a client's host and path to a pool, to what is opened there, and to the key of the request.
//! Pure functions over untrusted bytes; knows no engine and no driver protocol.

use crate::config::{
    self, AffinityCount, AffinityKey, AffinityMode, DOCUMENT_PLACEHOLDER, OpenTemplate,
    compare_precedence,
};
use crate::core::affinity_key::{CanonicalKey, KeyTemplate};
use crate::core::header_template::HeaderTemplate;
use crate::core::path_template::{PathMatch, PathTemplate};
use crate::core::rejection::Rejection;
use crate::engines::drivers::open_target::OpenTarget;
use berth_api::{AffinityScope, RejectReason};
use percent_encoding::percent_decode_str;
use std::collections::BTreeSet;
use std::time::Duration;

/// Maximum length of a document name in bytes.
const MAX_DOCUMENT_BYTES: usize = 1024;
/// The path segment by which QIX clients request no document.
const NO_DOCUMENT: &str = "engineData";

/// The capture with the document's name.
const DOCUMENT_CAPTURE: &str = "document";

/// The result of routing a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTarget {
    /// Index of the pool in the configuration.
    pub pool: usize,
    /// What is opened there.
    pub open_target: OpenTarget,
}

/// The configured routes, in the order of their precedence.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

#[derive(Clone, Debug)]
struct Route {
    host: Option<String>,
    template: PathTemplate,
    pool: usize,
    open: OpenTemplate,
    /// `None`: the route keeps no keys that follow from the path.
    key: Option<KeyTemplate>,
    rewrite: Option<PathTemplate>,
    headers: Vec<(String, HeaderTemplate)>,
    config: config::Route,
}

/// What a route does with a request, besides its target.
#[derive(Clone, Debug)]
pub struct RouteDetails<'a> {
    /// The settings of the route.
    pub route: &'a config::Route,
    /// The headers that it sets.
    pub headers: &'a [(String, HeaderTemplate)],
    /// The path of the request to the engine with its query, if the route rewrites it.
    pub rewritten: Option<String>,
    /// The document that the key names, if its engines are preferred.
    pub preferred_document: Option<String>,
    /// `None`: the route keeps no keys.
    pub key: Option<RouteKey>,
}

/// What a path says of the key of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKey {
    /// The key, if it is made of captures of the path.
    pub captured: Option<CanonicalKey>,
    /// The requests with the same key, for one account and one session.
    pub scope: AffinityScope,
    /// Replaces the scope's prefix.
    pub rewrite: Option<String>,
}

impl Route {
    fn permits(&self, roles: &[String]) -> bool {
        let required = &self.config.roles;
        required.is_empty() || required.iter().any(|role| roles.contains(role))
    }

    /// What the path says of the key; `None`: the route keeps no keys.
    fn describe_key(&self, found: &PathMatch<'_, '_>) -> Result<Option<RouteKey>, Rejection> {
        if !self.config.affinity.keeps_keys() {
            return Ok(None);
        }
        let key = self.key.as_ref();
        let captured = key.map(|key| key.resolve(&self.config.pool, found));
        let captured = captured.transpose();
        let captured = captured.map_err(|_| Rejection::new(RejectReason::KeyTooLong))?;
        let captures = key.map(KeyTemplate::captures).unwrap_or_default();
        let scope = found.scope(&captures);
        let rewrite = self.rewrite.as_ref().map(|rewrite| {
            if scope.exact {
                found.rewrite(rewrite)
            } else {
                found.rewrite_prefix(rewrite)
            }
        });
        Ok(Some(RouteKey {
            captured,
            scope: AffinityScope {
                host: self.config.host.clone(),
                prefix: scope.prefix,
                exact: scope.exact,
            },
            rewrite,
        }))
    }

    /// Where a request goes; `None` for the roles: for an operator.
    fn target(
        &self,
        found: &PathMatch<'_, '_>,
        roles: Option<&[String]>,
    ) -> Result<RouteTarget, Rejection> {
        if !roles.is_none_or(|roles| self.permits(roles)) {
            let detail = "the account has none of the roles of this path";
            return Err(Rejection::new(RejectReason::Forbidden).with_detail(detail));
        }
        let tail = found.raw(DOCUMENT_CAPTURE).unwrap_or_default();
        Ok(RouteTarget {
            pool: self.pool,
            open_target: resolve_open_target(&self.open, tail)?,
        })
    }

    /// What happens to a request, besides its target.
    fn details(
        &self,
        found: &PathMatch<'_, '_>,
        path_and_query: &str,
    ) -> Result<RouteDetails<'_>, Rejection> {
        let query = path_and_query.find('?');
        let query = query.and_then(|at| path_and_query.get(at..));
        let rewrite = self.rewrite.as_ref();
        let rewritten = rewrite.map(|rewrite| found.rewrite(rewrite) + query.unwrap_or_default());
        let affinity = &self.config.affinity;
        let names_document = affinity.mode == AffinityMode::Preferred
            && affinity.key == AffinityKey::Template(DOCUMENT_PLACEHOLDER.to_owned());
        let document = names_document
            .then(|| found.raw(DOCUMENT_CAPTURE))
            .flatten();
        Ok(RouteDetails {
            route: &self.config,
            headers: &self.headers,
            rewritten,
            preferred_document: document.map(document_name).transpose()?,
            key: self.describe_key(found)?,
        })
    }
}

impl Routes {
    /// Compiles the configured routes. Skips routes without an existing pool or with an invalid path; the checks of the
    /// configuration refuse these.
    #[must_use]
    pub fn new(routes: &[config::Route], pools: &[config::Pool]) -> Self {
        let compile = |route: &config::Route| {
            let template = route.template().ok()?;
            let key = match &route.affinity.key {
                AffinityKey::Template(key) => Some(KeyTemplate::parse(key, &template).ok()?),
                _ => None,
            };
            let rewrite = route.rewrite.as_deref().map(PathTemplate::parse);
            let headers = route.headers.iter().map(|(name, value)| {
                let template = HeaderTemplate::parse(value).ok()?;
                Some((name.clone(), template))
            });
            Some(Route {
                host: route.host.clone(),
                template,
                pool: pools.iter().position(|p| p.name == route.pool)?,
                open: route.open.clone(),
                key,
                rewrite: rewrite.transpose().ok()?,
                headers: headers.collect::<Option<_>>()?,
                config: route.clone(),
            })
        };
        let mut compiled: Vec<Route> = routes.iter().filter_map(compile).collect();
        compiled.sort_by(|one, other| {
            compare_precedence(&one.config, &one.template, &other.config, &other.template)
        });
        Self(compiled)
    }

    /// Finds the route of a request for an account with these roles. `host` is the authority; the path may have a query.
    /// `None` for the roles: for an operator, who may see every route.
    ///
    /// # Errors
    /// `no-such-route`, `forbidden` without a role of the route, or the error in the document's name.
    pub fn find(
        &self,
        host: &str,
        path_and_query: &str,
        roles: Option<&[String]>,
    ) -> Result<RouteTarget, Rejection> {
        let (route, found) = self.find_route(host, path_and_query)?;
        route.target(&found, roles)
    }

    /// What the route does with a request, besides its target.
    ///
    /// # Errors
    /// `no-such-route`, `key-too-long`, or the error in the document's name.
    pub fn describe(
        &self,
        host: &str,
        path_and_query: &str,
    ) -> Result<RouteDetails<'_>, Rejection> {
        let (route, found) = self.find_route(host, path_and_query)?;
        route.details(&found, path_and_query)
    }

    /// Finds the route of a request as [`Self::find`], and describes it as [`Self::describe`].
    ///
    /// # Errors
    /// Those of both.
    pub fn resolve(
        &self,
        host: &str,
        path_and_query: &str,
        roles: &[String],
    ) -> Result<(RouteTarget, RouteDetails<'_>), Rejection> {
        let (route, found) = self.find_route(host, path_and_query)?;
        let target = route.target(&found, Some(roles))?;
        Ok((target, route.details(&found, path_and_query)?))
    }

    /// The shortest time for which a key keeps its engine without activity; `None`: no route keeps keys.
    #[must_use]
    pub fn shortest_idle(&self) -> Option<Duration> {
        let settings = self.0.iter().map(|route| &route.config.affinity);
        let keeping = settings.filter(|affinity| affinity.keeps_keys());
        keeping.map(|affinity| affinity.idle).min()
    }

    /// The pools whose keys may be those of login sessions.
    #[must_use]
    pub fn pools_with_session_keys(&self) -> BTreeSet<&str> {
        let routes = self.0.iter().map(|route| &route.config);
        let of_session = routes.filter(|route| route.affinity.key == AffinityKey::Session);
        of_session.map(|route| route.pool.as_str()).collect()
    }

    /// What a key counts that stays on the engines of a pool, and its longest time without activity; `None`: none stays.
    /// If the routes to the pool count in several ways, each stream counts.
    #[must_use]
    pub fn sticky_settings(&self, pool: usize) -> Option<(AffinityCount, Duration)> {
        let routes = self.0.iter().filter(|route| route.pool == pool);
        let settings = routes.map(|route| &route.config.affinity);
        let sticky = settings
            .filter(|affinity| affinity.keeps_keys() && affinity.mode == AffinityMode::Sticky);
        let settings = sticky.map(|affinity| (affinity.effective_counts(), affinity.idle));
        settings.reduce(|one, other| {
            let counts = if one.0 == other.0 {
                one.0
            } else {
                AffinityCount::Streams
            };
            (counts, one.1.max(other.1))
        })
    }

    fn find_route<'a, 'p>(
        &'a self,
        host: &str,
        path_and_query: &'p str,
    ) -> Result<(&'a Route, PathMatch<'a, 'p>), Rejection> {
        let path = path_and_query.split_once('?');
        let path = path.map_or(path_and_query, |(path, _)| path);
        let host = without_port(host);
        let matches_host = |route: &&Route| {
            let own = route.host.as_deref();
            own.is_none_or(|own| own.eq_ignore_ascii_case(host))
        };
        let mut routes = self.0.iter().filter(matches_host);
        let found = routes.find_map(|route| Some((route, route.template.match_path(path)?)));
        found.ok_or_else(|| Rejection::new(RejectReason::NoSuchRoute))
    }
}

/// The host of an authority. The port of an IPv6 address follows its bracket.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

fn resolve_open_target(template: &OpenTemplate, tail: &str) -> Result<OpenTarget, Rejection> {
    let template = match template {
        OpenTemplate::Nothing => return Ok(OpenTarget::Nothing),
        OpenTemplate::SessionApp => return Ok(OpenTarget::SessionApp),
        OpenTemplate::Document(template) => template,
    };
    if !template.contains(DOCUMENT_PLACEHOLDER) {
        return Ok(OpenTarget::Document(template.clone()));
    }
    let name = document_name(tail)?;
    if template == DOCUMENT_PLACEHOLDER && (name.is_empty() || name == NO_DOCUMENT) {
        return Ok(OpenTarget::Nothing);
    }
    if name.is_empty() {
        return Err(
            Rejection::new(RejectReason::NoSuchDocument).with_detail("the path names no document")
        );
    }
    Ok(OpenTarget::Document(
        template.replace(DOCUMENT_PLACEHOLDER, &name),
    ))
}

/// The document's name in the tail of a path: percent-decoded, without the session parameters that QIX clients
/// append (`/identity/<any>`, `/ttl/<seconds>`).
///
/// # Errors
/// `invalid-request` for invalid text, `no-such-document` for names with `..` segments.
pub fn document_name(tail: &str) -> Result<String, Rejection> {
    let tail = strip_parameter(tail, "ttl", |v| v.bytes().all(|b| b.is_ascii_digit()));
    let tail = strip_parameter(tail, "identity", |_| true);
    let name = percent_decode(tail)
        .ok_or_else(|| invalid("the document's name is not percent-encoded UTF-8"))?;
    if name.len() > MAX_DOCUMENT_BYTES {
        return Err(invalid("the document's name is too long"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid("the document's name has control characters"));
    }
    if name.split(['/', '\\']).any(|segment| segment == "..") {
        return Err(Rejection::new(RejectReason::NoSuchDocument));
    }
    Ok(name)
}

fn invalid(detail: &str) -> Rejection {
    Rejection::new(RejectReason::InvalidRequest).with_detail(detail)
}

/// Removes a trailing `/name/value`, also if `name/value` is the whole tail.
fn strip_parameter<'a>(tail: &'a str, name: &str, fits: impl Fn(&str) -> bool) -> &'a str {
    let Some((before, value)) = tail.rsplit_once('/') else {
        return tail;
    };
    match before.strip_suffix(name) {
        Some(prefix) if !value.is_empty() && fits(value) => match prefix.strip_suffix('/') {
            Some(prefix) => prefix,
            None if prefix.is_empty() => prefix,
            None => tail,
        },
        _ => tail,
    }
}

/// Percent-decoding (RFC 3986 section 2.1). `None` for an invalid escape, which the library would keep as it is, or
/// invalid UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let begins_with_byte = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(begins_with_byte) {
        return None;
    }
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests;
