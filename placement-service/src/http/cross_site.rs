//! Keeps other sites from posting forms here (CSRF): by what the browser says of the request's origin,
//! which no page can forge. Clients that are no browsers say nothing, and have no cookies to abuse.

use super::problem::HttpProblem;
use axum::http::{HeaderMap, header};

/// Refuses a request that a page of another site made. `trusted` are the configured origins.
pub(super) fn refuse(headers: &HeaderMap, trusted: &[String]) -> Result<(), HttpProblem> {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let origin = text(header::ORIGIN.as_str());
    if origin.is_some_and(|origin| trusted.iter().any(|t| t == origin)) {
        return Ok(());
    }
    let own = match (text("sec-fetch-site"), origin) {
        // W3C Fetch Metadata: `none` is the user himself, not a page.
        (Some("same-origin" | "none"), _) | (None, None) => true,
        (Some(_), _) => false,
        (None, Some(origin)) => {
            text(header::HOST.as_str()).is_some_and(|host| is_own(origin, host))
        }
    };
    own.then_some(()).ok_or_else(HttpProblem::cross_site)
}

/// Whether an origin is the request's own host. The scheme is not known behind a proxy that ends TLS.
fn is_own(origin: &str, host: &str) -> bool {
    let (authority, default_port) = match origin.split_once("://") {
        Some(("https", authority)) => (authority, ":443"),
        Some(("http", authority)) => (authority, ":80"),
        _ => return false,
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        refuse(&map, &["https://portal.example".to_owned()]).is_ok()
    }

    #[test]
    fn browsers_are_believed_about_their_site() {
        assert!(passes(&[("sec-fetch-site", "same-origin")]));
        assert!(passes(&[("sec-fetch-site", "none")]));
        assert!(!passes(&[("sec-fetch-site", "cross-site")]));
        assert!(!passes(&[("sec-fetch-site", "same-site")]));
        let host = ("host", "a.example");
        let own = ("origin", "https://a.example");
        assert!(!passes(&[("sec-fetch-site", "cross-site"), host, own]));
    }

    #[test]
    fn without_fetch_metadata_the_origin_must_be_the_host() {
        assert!(passes(&[]));
        for (origin, host, expected) in [
            ("http://a.example:8080", "a.example:8080", true),
            ("https://a.example", "a.example", true),
            ("https://a.example", "a.example:443", true),
            ("https://A.example", "a.example", true),
            ("http://a.example", "a.example:443", false),
            ("http://a.example:8081", "a.example:8080", false),
            ("https://evil.example", "a.example", false),
            ("https://a.example.evil", "a.example", false),
            ("null", "a.example", false),
            ("https://", "", false),
        ] {
            assert_eq!(
                passes(&[("origin", origin), ("host", host)]),
                expected,
                "{origin}"
            );
        }
        assert!(!passes(&[("origin", "http://a.example")]));
    }

    #[test]
    fn trusted_origins_may_post() {
        let portal = ("origin", "https://portal.example");
        assert!(passes(&[portal, ("host", "a.example")]));
        assert!(passes(&[portal, ("sec-fetch-site", "cross-site")]));
        assert!(!passes(&[
            ("origin", "https://portal.example.evil"),
            ("host", "a")
        ]));
    }
}
