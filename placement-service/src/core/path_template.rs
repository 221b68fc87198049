//! Paths with captures, such as `/rooms/{room}/{rest}`: which paths match, what the captures are, and which of several
//! templates takes a path. Knows no route and no key.
//!
//! A template and a path are compared segment by segment, as the client sent the path. `{name}` captures one segment
//! that is not empty. `{rest}` or `{document}`, as the last segment, captures what remains, slashes included; it may be
//! empty.

mod capture;
mod error;
mod path_match;

pub use capture::CaptureText;
pub use error::PathTemplateError;
pub use path_match::{PathMatch, PathScope};

use std::cmp::Ordering;

/// The captures that stand for the rest of a path.
const REST_NAMES: [&str; 2] = ["rest", "document"];
/// Names that have another meaning in keys and headers.
const RESERVED_NAMES: [&str; 6] = ["account", "claims", "key", "roles", "session", "tab"];
/// Maximum length of the name of a capture.
const MAX_NAME_BYTES: usize = 32;

/// A path with captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    /// At least one; the last one is empty if the path ends in a slash.
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// One segment.
    Capture(String),
    /// The rest of the path; always the last one.
    Rest(String),
}

impl Segment {
    fn parse(text: &str) -> Result<Self, PathTemplateError> {
        if !text.contains(['{', '}']) {
            return Ok(Self::Literal(text.to_owned()));
        }
        let name = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
        let name = name.filter(|name| !name.contains(['{', '}']));
        let Some(name) = name else {
            return Err(PathTemplateError::PartOfSegment(text.to_owned()));
        };
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let begins_with_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
        if !begins_with_letter || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
            return Err(PathTemplateError::Name(name.to_owned()));
        }
        if RESERVED_NAMES.contains(&name) {
            return Err(PathTemplateError::Reserved(name.to_owned()));
        }
        let name = name.to_owned();
        if REST_NAMES.contains(&name.as_str()) {
            return Ok(Self::Rest(name));
        }
        Ok(Self::Capture(name))
    }

    fn capture(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Capture(name) | Self::Rest(name) => Some(name),
        }
    }

    /// Lower is more specific.
    const fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 0,
            Self::Capture(_) => 1,
            Self::Rest(_) => 2,
        }
    }

    /// Whether some text matches both; the rest begins with any text.
    fn can_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(other)) => one == other,
            (Self::Literal(text), Self::Capture(_)) | (Self::Capture(_), Self::Literal(text)) => {
                !text.is_empty()
            }
            _ => true,
        }
    }
}

impl PathTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathTemplateError> {
        let path = text.strip_prefix('/').ok_or(PathTemplateError::NotAPath)?;
        if path.contains(['?', '#']) {
            return Err(PathTemplateError::NotAPath);
        }
        let segments = path.split('/').map(Segment::parse);
        let segments = segments.collect::<Result<Vec<Segment>, _>>()?;
        let template = Self { segments };
        let mut earlier: Vec<&str> = Vec::new();
        for name in template.captures() {
            if earlier.contains(&name) {
                return Err(PathTemplateError::Repeated(name.to_owned()));
            }
            earlier.push(name);
        }
        let before_last = template.segments.iter().rev().skip(1);
        for segment in before_last {
            if let Segment::Rest(name) = segment {
                return Err(PathTemplateError::NotLast(name.clone()));
            }
        }
        Ok(template)
    }

    /// The names of its captures in order.
    pub fn captures(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(Segment::capture)
    }

    /// The name of the capture of the rest of the path, if it has one.
    #[must_use]
    pub fn rest(&self) -> Option<&str> {
        match self.segments.last() {
            Some(Segment::Rest(name)) => Some(name),
            _ => None,
        }
    }

    /// What precedes the first capture; the whole path if there is none.
    #[must_use]
    pub fn literal_prefix(&self) -> String {
        let mut prefix = String::new();
        for segment in &self.segments {
            prefix.push('/');
            match segment {
                Segment::Literal(literal) => prefix.push_str(literal),
                Segment::Capture(_) | Segment::Rest(_) => break,
            }
        }
        prefix
    }

    /// Matches a path without query.
    #[must_use]
    pub fn match_path<'t, 'p>(&'t self, path: &'p str) -> Option<PathMatch<'t, 'p>> {
        let mut remaining = Some(path.strip_prefix('/')?);
        let mut captures = Vec::new();
        for segment in &self.segments {
            let text = remaining?;
            if let Segment::Rest(_) = segment {
                captures.push(text);
                remaining = None;
                break;
            }
            let (first, after) = match text.split_once('/') {
                Some((first, after)) => (first, Some(after)),
                None => (text, None),
            };
            match segment {
                Segment::Literal(literal) if literal != first => return None,
                Segment::Capture(_) if first.is_empty() => return None,
                Segment::Capture(_) => captures.push(first),
                Segment::Literal(_) | Segment::Rest(_) => {}
            }
            remaining = after;
        }
        let matched = remaining.is_none();
        matched.then(|| PathMatch::new(self, path, captures))
    }

    /// `Less`: this template takes the paths that both match. At the first segment in which they differ, a literal
    /// precedes a capture, and a capture precedes the rest; otherwise the longer one precedes.
    #[must_use]
    pub fn compare_precedence(&self, other: &Self) -> Ordering {
        let ranks =
            |template: &Self| -> Vec<u8> { template.segments.iter().map(Segment::rank).collect() };
        let (own, others) = (ranks(self), ranks(other));
        let pairs = own.iter().zip(&others);
        let differing = pairs.map(|(own, other)| own.cmp(other));
        let first = differing.into_iter().find(|order| order.is_ne());
        first.unwrap_or_else(|| others.len().cmp(&own.len()))
    }

    /// Whether both match the same paths.
    #[must_use]
    pub fn matches_same_paths(&self, other: &Self) -> bool {
        let mut pairs = self.segments.iter().zip(&other.segments);
        self.segments.len() == other.segments.len()
            && pairs.all(|(own, other)| match (own, other) {
                (Segment::Literal(own), Segment::Literal(other)) => own == other,
                _ => own.rank() == other.rank(),
            })
    }

    /// Whether a path that `other` matches may lie in a scope of this template with the given captures in the key.
    #[must_use]
    pub fn scope_may_contain(&self, key: &[&str], other: &Self) -> bool {
        let is_prefix = self.has_prefix_scope(key);
        let own = self.segments.iter();
        let own = own.take_while(|one| !is_prefix || !matches!(one, Segment::Rest(_)));
        let mut others = other.segments.iter();
        for segment in own {
            match others.next() {
                None => return false,
                Some(other) if !segment.can_equal(other) => return false,
                Some(other) if segment.rank().max(other.rank()) == 2 => return true,
                Some(_) => {}
            }
        }
        // A prefix ends in a slash, so what is in the scope has a further segment; one path alone has none.
        is_prefix == others.next().is_some()
    }

    /// Whether a scope is a prefix: the rest of the path, and no other capture behind those of the key, varies in it.
    #[must_use]
    pub fn has_prefix_scope(&self, key: &[&str]) -> bool {
        let Some(rest) = self.rest() else {
            return false;
        };
        let in_key = |segment: &Segment| segment.capture().is_some_and(|name| key.contains(&name));
        let behind_key = self.segments.iter().rev().take_while(|one| !in_key(one));
        let mut captures = behind_key.filter_map(Segment::capture);
        captures.next() == Some(rest) && captures.next().is_none()
    }
}

#[cfg(test)]
mod tests;
