//! What a client's path asks for: which pool, and what to open there. Pure functions over untrusted
//! bytes; knows no engine and no driver's protocol.

use crate::config::{self, Open};
use crate::core::rejection::Refusal;
use crate::engines::drivers::opening::Opening;
use berth_api::Reason;

/// Longer names are not documents.
const MAX_DOCUMENT: usize = 1024;
const DOCUMENT: &str = "{document}";
/// The identifier by which QIX clients ask for no document.
const NO_DOCUMENT: &str = "engineData";

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Position of the pool in the configuration.
    pub pool: usize,
    /// What is opened there.
    pub opening: Opening,
}

/// The configured routes, first match first.
#[derive(Clone, Debug)]
pub struct Routes(Vec<Route>);

#[derive(Clone, Debug)]
struct Route {
    pattern: Pattern,
    pool: usize,
    open: Open,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(String),
    /// What stands before `{document}`.
    Tail(String),
}

impl Routes {
    /// Compiles the configuration's routes. A route whose pool does not exist matches nothing: loading
    /// the configuration refuses it.
    #[must_use]
    pub fn new(routes: &[config::Route], pools: &[config::Pool]) -> Self {
        let compile = |route: &config::Route| {
            let pattern = match route.path.strip_suffix(DOCUMENT) {
                Some(prefix) => Pattern::Tail(prefix.to_owned()),
                None => Pattern::Exact(route.path.clone()),
            };
            Some(Route {
                pattern,
                pool: pools.iter().position(|p| p.name == route.pool)?,
                open: route.open.clone(),
            })
        };
        Self(routes.iter().filter_map(compile).collect())
    }

    /// Finds the route of a path, which may have a query.
    ///
    /// # Errors
    /// `no-such-route`, or what is wrong with the document's name.
    pub fn find(&self, path_and_query: &str) -> Result<Target, Refusal> {
        let path = path_and_query
            .split_once('?')
            .map_or(path_and_query, |(path, _)| path);
        for route in &self.0 {
            let tail = match &route.pattern {
                Pattern::Exact(exact) if path == exact => "",
                Pattern::Tail(prefix) => match path.strip_prefix(prefix.as_str()) {
                    Some(tail) => tail,
                    None => continue,
                },
                Pattern::Exact(_) => continue,
            };
            return Ok(Target {
                pool: route.pool,
                opening: opening(&route.open, tail)?,
            });
        }
        Err(Refusal::new(Reason::NoSuchRoute))
    }
}

fn opening(open: &Open, tail: &str) -> Result<Opening, Refusal> {
    let template = match open {
        Open::Nothing => return Ok(Opening::Nothing),
        Open::SessionApp => return Ok(Opening::SessionApp),
        Open::Document(template) => template,
    };
    if !template.contains(DOCUMENT) {
        return Ok(Opening::Document(template.clone()));
    }
    let name = document(tail)?;
    if template == DOCUMENT && (name.is_empty() || name == NO_DOCUMENT) {
        return Ok(Opening::Nothing);
    }
    if name.is_empty() {
        return Err(Refusal::new(Reason::NoSuchDocument).with_detail("the path names no document"));
    }
    Ok(Opening::Document(template.replace(DOCUMENT, &name)))
}

/// The document's name in the tail of a path: without the session parameters that QIX clients append
/// (`/identity/<any>`, `/ttl/<seconds>`), percent-decoded.
///
/// # Errors
/// `invalid-request` for what is no text, `no-such-document` for names that climb out of a folder.
pub fn document(tail: &str) -> Result<String, Refusal> {
    let tail = without_parameter(tail, "ttl", |v| v.bytes().all(|b| b.is_ascii_digit()));
    let tail = without_parameter(tail, "identity", |_| true);
    let name = percent_decode(tail)
        .ok_or_else(|| invalid("the document's name is not percent-encoded UTF-8"))?;
    if name.len() > MAX_DOCUMENT {
        return Err(invalid("the document's name is too long"));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid("the document's name has control characters"));
    }
    if name.split(['/', '\\']).any(|segment| segment == "..") {
        return Err(Refusal::new(Reason::NoSuchDocument));
    }
    Ok(name)
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(Reason::InvalidRequest).with_detail(detail)
}

/// Takes a trailing `/name/value` (or the whole of `name/value`) off.
fn without_parameter<'a>(tail: &'a str, name: &str, fits: impl Fn(&str) -> bool) -> &'a str {
    let Some((before, value)) = tail.rsplit_once('/') else {
        return tail;
    };
    match before.strip_suffix(name) {
        Some(rest) if !value.is_empty() && fits(value) => match rest.strip_suffix('/') {
            Some(rest) => rest,
            None if rest.is_empty() => rest,
            None => tail,
        },
        _ => tail,
    }
}

/// RFC 3986, section 2.1. `None` for a broken escape or anything but UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let hex = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests;
