//! Validates where a login may redirect to: a path of this site, and nothing that a browser could read as another site.

/// Maximum length of `return_to`, in bytes.
pub const MAX_BYTES: usize = 2048;

/// A validated relative reference: it starts with one `/`, and is printable ASCII without spaces and backslashes.
/// Safe in a `Location` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// `None` for anything that is not a path of this site.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_safe = text.len() <= MAX_BYTES
            && text.starts_with('/')
            && !text.starts_with("//")
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
        // No browser, but some proxies resolve "/.//host" to "//host".
        let path = text.split(['?', '#']).next().unwrap_or_default();
        (is_safe && !path.contains("//")).then(|| Self(text.to_owned()))
    }

    /// The path with its query.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_of_this_site_pass() {
        for path in [
            "/",
            "/app/sales.qvf",
            "/a?b=c//d&u=http://x",
            "/a%0d%0ab#frag",
            "/a:b@c",
        ] {
            assert_eq!(ReturnTo::parse(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn everything_else_is_rejected() {
        let too_long = format!("/{}", "a".repeat(MAX_BYTES));
        for text in [
            "",
            "app",
            "//evil",
            "///evil",
            "/\\evil",
            "\\evil",
            "http://evil",
            "javascript:x",
            "/a\r\nSet-Cookie: x",
            "/\tevil",
            "/ evil",
            "/\u{2028}",
            "/a//b",
            "/.//evil",
            "?x",
            "#x",
            &too_long,
            "/\u{e9}",
            " /",
        ] {
            assert_eq!(ReturnTo::parse(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_valid_path_fits_a_header_and_stays_on_this_site(text in "[/\\\\a:?#\\r\\n\\t .%]{0,12}|\\PC{0,40}") {
            if let Some(path) = ReturnTo::parse(&text) {
                prop_assert!(axum::http::HeaderValue::from_str(path.as_str()).is_ok());
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(!path.as_str().starts_with("//"));
                prop_assert!(!path.as_str().contains('\\'));
            }
        }
    }
}
