//! The route table: maps a client's path to a pool and to what is opened there. Pure functions over untrusted
//! bytes; knows no engine and no driver protocol.

use crate::config::{self, DOCUMENT_PLACEHOLDER, OpenTemplate, PathPattern};
use crate::core::rejection::Rejection;
use crate::engines::drivers::open_target::OpenTarget;
use berth_api::RejectReason;
use percent_encoding::percent_decode_str;

/// Maximum length of a document name in bytes.
const MAX_DOCUMENT_BYTES: usize = 1024;
/// The path segment by which QIX clients request no document.
const NO_DOCUMENT: &str = "engineData";

/// The result of routing a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTarget {
    /// Index of the pool in the configuration.
    pub pool: usize,
    /// What is opened there.
    pub open_target: OpenTarget,
}

/// The configured routes, in order; the first match wins.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

#[derive(Clone, Debug)]
struct Route {
    pattern: Pattern,
    pool: usize,
    open: OpenTemplate,
    /// Accounts need one of these; empty: any account.
    roles: Vec<String>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    /// The part before `{document}`.
    Prefix(String),
}

impl Route {
    fn permits(&self, roles: &[String]) -> bool {
        self.roles.is_empty() || self.roles.iter().any(|role| roles.contains(role))
    }
}

impl Routes {
    /// Compiles the configured routes. Skips routes without an existing pool; the checks of the configuration
    /// refuse these.
    #[must_use]
    pub fn new(routes: &[config::Route], pools: &[config::Pool]) -> Self {
        let compile = |route: &config::Route| {
            let pattern = match route.pattern() {
                PathPattern::Prefix(prefix) => Pattern::Prefix(prefix.to_owned()),
                PathPattern::Exact(path) => Pattern::Exact(path.to_owned()),
            };
            Some(Route {
                pattern,
                pool: pools.iter().position(|p| p.name == route.pool)?,
                open: route.open.clone(),
                roles: route.roles.clone(),
            })
        };
        Self(routes.iter().filter_map(compile).collect())
    }

    /// Finds the route of a path for an account with these roles; the path may have a query. `None` for the roles:
    /// an operator asks, who may see every route.
    ///
    /// # Errors
    /// `no-such-route`, `forbidden` without a role of the route, or the error in the document's name.
    pub fn find(
        &self,
        path_and_query: &str,
        roles: Option<&[String]>,
    ) -> Result<RouteTarget, Rejection> {
        let path = path_and_query
            .split_once('?')
            .map_or(path_and_query, |(path, _)| path);
        for route in &self.0 {
            let tail = match &route.pattern {
                Pattern::Exact(exact) if path == exact => "",
                Pattern::Prefix(prefix) => match path.strip_prefix(prefix.as_str()) {
                    Some(tail) => tail,
                    None => continue,
                },
                Pattern::Exact(_) => continue,
            };
            if !roles.is_none_or(|roles| route.permits(roles)) {
                let detail = "the account has none of the roles of this path";
                return Err(Rejection::new(RejectReason::Forbidden).with_detail(detail));
            }
            return Ok(RouteTarget {
                pool: route.pool,
                open_target: resolve_open_target(&route.open, tail)?,
            });
        }
        Err(Rejection::new(RejectReason::NoSuchRoute))
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
