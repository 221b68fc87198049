//! A path that a template matches: its captures, its scope, and the path that another template makes of its captures.

use super::{CaptureText, PathTemplate, Segment};

/// A path and the captures in it.
#[derive(Clone, Debug)]
pub struct PathMatch<'t, 'p> {
    template: &'t PathTemplate,
    path: &'p str,
    /// As the client sent them, in the order of the template's captures.
    captures: Vec<&'p str>,
}

/// The paths that have the same captures in a key. All of them match the template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathScope {
    /// As the client sent it.
    pub prefix: String,
    /// The scope is this path alone.
    pub exact: bool,
}

impl<'t, 'p> PathMatch<'t, 'p> {
    pub(super) const fn new(
        template: &'t PathTemplate,
        path: &'p str,
        captures: Vec<&'p str>,
    ) -> Self {
        Self {
            template,
            path,
            captures,
        }
    }

    /// The text of a capture as the client sent it.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'p str> {
        let mut captures = self.template.captures().zip(&self.captures);
        let (_, text) = captures.find(|(other, _)| *other == name)?;
        Some(text)
    }

    /// The text of a capture, decoded.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<CaptureText<'p>> {
        let raw = self.raw(name)?;
        Some(if self.template.rest() == Some(name) {
            CaptureText::decode_rest(raw)
        } else {
            CaptureText::decode_segment(raw)
        })
    }

    /// The scope of a key with the given captures: what precedes the rest of the path, if only the rest varies in
    /// it; otherwise this path alone.
    #[must_use]
    pub fn scope(&self, key: &[&str]) -> PathScope {
        let exact = !self.template.has_prefix_scope(key);
        let prefix = if exact { self.path } else { self.before_rest() };
        PathScope {
            prefix: prefix.to_owned(),
            exact,
        }
    }

    /// The path without its rest.
    fn before_rest(&self) -> &'p str {
        let rest = self.template.rest().and_then(|name| self.raw(name));
        let prefix = rest.and_then(|rest| self.path.strip_suffix(rest));
        prefix.unwrap_or(self.path)
    }

    /// The path that `template` makes of these captures, as the client sent them. A capture that is not here leaves
    /// its segment empty.
    #[must_use]
    pub fn rewrite(&self, template: &PathTemplate) -> String {
        self.fill(template, true)
    }

    /// What `template` makes of the scope's prefix: the rewritten path without its rest.
    #[must_use]
    pub fn rewrite_prefix(&self, template: &PathTemplate) -> String {
        self.fill(template, false)
    }

    fn fill(&self, template: &PathTemplate, with_rest: bool) -> String {
        let mut path = String::new();
        for segment in &template.segments {
            path.push('/');
            match segment {
                Segment::Literal(literal) => path.push_str(literal),
                Segment::Rest(_) if !with_rest => {}
                Segment::Capture(name) | Segment::Rest(name) => {
                    path.push_str(self.raw(name).unwrap_or_default());
                }
            }
        }
        path
    }
}
