//! What a driver opens on an engine before the client connects, and the removal of Berth's own query parameter from the
//! path. Must not know routes.

/// What a driver opens before the client connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenTarget {
    /// Only the session.
    Nothing,
    /// A document by name.
    Document(String),
    /// A new document that exists only in memory.
    SessionApp,
}

impl OpenTarget {
    /// The name of the document, if a document is opened by name.
    #[must_use]
    pub fn document(&self) -> Option<&str> {
        match self {
            Self::Document(name) => Some(name),
            Self::Nothing | Self::SessionApp => None,
        }
    }
}

/// Removes one query parameter from a path. All other bytes stay the same.
#[must_use]
pub fn without_query_parameter(path_and_query: &str, name: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let is_named = |pair: &&str| pair.split_once('=').map_or(*pair, |(key, _)| key) != name;
    let remaining: Vec<_> = query.split('&').filter(is_named).collect();
    if remaining.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", remaining.join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_one_query_parameter() {
        for (path, expected) in [
            ("/chat", "/chat"),
            ("/chat?berth_tab=1", "/chat"),
            ("/chat?a=1&berth_tab=2&b", "/chat?a=1&b"),
            ("/chat?berth_tabs=1", "/chat?berth_tabs=1"),
            ("/chat?", "/chat?"),
        ] {
            assert_eq!(without_query_parameter(path, "berth_tab"), expected);
        }
    }
}
