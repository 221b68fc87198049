//! Facts about request paths: the part before the query, prefixes by segment, and dot segments in every spelling.
//! Knows no route.

use percent_encoding::percent_decode;

/// The part of a path before its query.
#[must_use]
pub fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Whether `path` (without query) is `prefix` or lies below it, segment by segment.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|suffix| suffix.is_empty() || prefix.ends_with('/') || suffix.starts_with('/'))
}

/// Whether a path has a segment `.` or `..`. Dots and separators may be percent-encoded, and path parameters (after
/// `;`) may follow the dots. Envoy or an upstream may resolve such segments, so a route that matched the path as
/// written could be bypassed.
#[must_use]
pub fn has_dot_segment(path: &str) -> bool {
    // Dots in the segment so far; `None` once it has anything else.
    let mut dots = Some(0_usize);
    let mut in_parameters = false;
    for byte in percent_decode(without_query(path).as_bytes()) {
        match byte {
            b'/' | b'\\' => {
                if matches!(dots, Some(1 | 2)) {
                    return true;
                }
                (dots, in_parameters) = (Some(0), false);
            }
            _ if in_parameters => {}
            b';' => in_parameters = true,
            b'.' => dots = dots.map(|dots| dots.saturating_add(1)),
            _ => dots = None,
        }
    }
    matches!(dots, Some(1 | 2))
}

/// Whether a path has a percent-encoded slash or backslash. A server that decodes it reads other segments than the
/// route that matched the path as written.
#[must_use]
pub fn has_escaped_separator(path: &str) -> bool {
    let bytes = without_query(path).as_bytes();
    bytes
        .windows(3)
        .any(|escape| escape.eq_ignore_ascii_case(b"%2f") || escape.eq_ignore_ascii_case(b"%5c"))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn escaped_separators_are_found_before_the_query() {
        for path in ["/a%2Fb", "/a%2f", "/%5Cb", "/a%5c%5c?x"] {
            assert!(has_escaped_separator(path), "{path}");
        }
        for path in ["/a/b", "/a%20b", "/a?x=%2F", "/%252F", "/%2", "/%5", "/"] {
            assert!(!has_escaped_separator(path), "{path}");
        }
    }

    #[test]
    fn dot_segments_are_found_in_every_spelling() {
        for path in [
            "/a/../b",
            "/..",
            "/a/.",
            "/%2e%2E/b",
            "/.%2e/b",
            "/a\\..\\b",
            "/a/..?q",
            "/a%2f..%2Fb",
            "/a%2F%2e%2e",
            "/a%5c..%5Cb",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/..%3bx/b",
            "/a/..;x",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in [
            "/a..b",
            "/...",
            "/.well-known/jwks.json",
            "/a?x=/../",
            "/%2ea",
            "/",
            "/a;..",
            "/a;x=1/b",
            "/a;x/;..",
            "/%2f%5c;/%2",
            "/a%2fb..%2Fc",
            "/%252e%252e/b",
            "/..%zz",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }
}
