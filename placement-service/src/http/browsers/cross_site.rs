//! Rejects forms that pages of other sites post here (CSRF), by the request's `Sec-Fetch-Site` and `Origin` headers,
//! which no page can forge. Clients other than browsers send neither, and have no cookies that a page could abuse.

use crate::config::Config;
use crate::http::problem::HttpProblem;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header};

/// Rejects a request from a page of another site, except from `login.trusted_origins`.
///
/// # Errors
/// The rejection.
pub fn check_origin(uri: &Uri, headers: &HeaderMap, config: &Config) -> Result<(), HttpProblem> {
    let trusted = &config.login.trusted_origins;
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let origin = text(header::ORIGIN.as_str());
    if origin.is_some_and(|origin| trusted.iter().any(|t| t == origin)) {
        return Ok(());
    }
    let is_same_site = match (text("sec-fetch-site"), origin) {
        // W3C Fetch Metadata: `none` means that the user sent the request, not a page.
        (Some("same-origin" | "none"), _) | (None, None) => true,
        (Some(_), _) => false,
        (None, Some(origin)) => {
            let host = requested_host(uri, headers);
            host.is_some_and(|host| is_own_origin(origin, host, config.is_https_site()))
        }
    };
    is_same_site
        .then_some(())
        .ok_or_else(HttpProblem::cross_site)
}

/// The host and port that the client has requested.
pub(super) fn requested_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    // HTTP/2 has the host in the URI.
    let authority = uri.authority().map(Authority::as_str);
    authority.or_else(|| headers.get(header::HOST)?.to_str().ok())
}

/// Whether an origin is that of this site, by the host of the request. Anyone in the network can forge a page of the
/// http origin, so it is another site if browsers reach this one over https. The https origin is accepted in any case:
/// a proxy may terminate TLS without the service knowing.
fn is_own_origin(origin: &str, host: &str, is_https_site: bool) -> bool {
    let (authority, default_port) = match origin.split_once("://") {
        Some(("https", authority)) => (authority, ":443"),
        Some(("http", authority)) if !is_https_site => (authority, ":80"),
        _ => return false,
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    !host.is_empty() && authority.eq_ignore_ascii_case(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_text;

    fn config(secure: bool, login: &str) -> Config {
        let text = format!(
            "session: {{ cookie: {{ secure: {secure} }} }}\n\
             login: {{ trusted_origins: ['https://portal.example']{login} }}"
        );
        from_text(&text).unwrap().config
    }

    fn passes(headers: &[(&'static str, &str)]) -> bool {
        passes_at(&config(false, ""), headers)
    }

    fn passes_at(config: &Config, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        check_origin(&Uri::from_static("/login"), &map, config).is_ok()
    }

    #[test]
    fn a_page_over_http_is_another_site_than_one_over_https() {
        let with_public_url = |url: &str| config(false, &format!(", public_url: '{url}'"));
        for (config, over_http) in [
            (config(false, ""), true),
            (config(true, ""), false),
            (with_public_url("https://a.example"), false),
            (with_public_url("http://a.example"), true),
        ] {
            let host = ("host", "a.example");
            let from = |origin| passes_at(&config, &[("origin", origin), host]);
            assert_eq!(from("http://a.example"), over_http);
            assert!(from("https://a.example"));
        }
    }

    #[test]
    fn over_http_2_the_host_is_in_the_uri() {
        let uri = Uri::from_static("http://a.example:8080/login");
        let headers_from =
            |origin: &str| HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        let config = config(false, "");
        assert!(check_origin(&uri, &headers_from("http://a.example:8080"), &config).is_ok());
        assert!(check_origin(&uri, &headers_from("http://evil.example"), &config).is_err());
    }

    #[test]
    fn fetch_metadata_decides_where_it_is_sent() {
        assert!(passes(&[("sec-fetch-site", "same-origin")]));
        assert!(passes(&[("sec-fetch-site", "none")]));
        assert!(!passes(&[("sec-fetch-site", "cross-site")]));
        assert!(!passes(&[("sec-fetch-site", "same-site")]));
        let host = ("host", "a.example");
        let own_origin = ("origin", "https://a.example");
        assert!(!passes(&[
            ("sec-fetch-site", "cross-site"),
            host,
            own_origin
        ]));
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
