//! Clears duplicates of the login cookie that other software of a parent domain has set. A browser sends such a cookie
//! beside the one of a login, and a request with two login cookies is refused. Knows no session.

use super::{LoginCookie, find_cookie};
use crate::http::browsers::cross_site::requested_host;
use axum::http::{HeaderMap, HeaderValue, Uri};
use std::net::IpAddr;

/// Maximum number of domains: the host and its parents.
const MAX_DOMAINS: usize = 5;

impl LoginCookie {
    /// The `Set-Cookie` values that clear duplicates, if the request has any. A cookie can be cleared only with its domain
    /// and path (RFC 6265, section 5.3), which a request does not tell: each parent domain with the path `/`.
    #[must_use]
    pub fn clear_duplicates(&self, uri: &Uri, headers: &HeaderMap) -> Vec<HeaderValue> {
        // A browser refuses a cookie of this prefix with a domain.
        if self.name.starts_with("__Host-") || find_cookie(headers, &self.name).is_ok() {
            return Vec::new();
        }
        let host = requested_host(uri, headers).unwrap_or_default();
        let clearing_cookies = domains(host).into_iter().map(|domain| {
            let secure = self.secure_attribute();
            let text = format!("{}=; Domain={domain}; Path=/{secure}; Max-Age=0", self.name);
            HeaderValue::try_from(text).ok()
        });
        clearing_cookies.flatten().collect()
    }
}

/// The host and its parents for which a browser accepts cookies. None for an IP address.
fn domains(host: &str) -> Vec<&str> {
    let name = host.split(':').next().unwrap_or_default();
    let is_label_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    if name.parse::<IpAddr>().is_ok() || !name.bytes().all(is_label_byte) {
        return Vec::new();
    }
    let parents = std::iter::successors(Some(name), |name| {
        name.split_once('.').map(|(_, parent)| parent)
    });
    parents
        .take_while(|name| name.contains('.'))
        .take(MAX_DOMAINS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cookie, SameSite};

    #[test]
    fn cookies_are_possible_for_the_host_and_its_parents() {
        let all = ["a.b.example.com", "b.example.com", "example.com"];
        assert_eq!(domains("a.b.example.com:8443"), all);
        assert_eq!(domains("a.b.c.d.e.f.example.com").len(), MAX_DOMAINS);
        for none in ["localhost", "", "127.0.0.1:8080", "[::1]:80", "a_b;x.com"] {
            assert_eq!(domains(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn only_duplicates_are_cleared() {
        let clear = |secure, cookie: &str| {
            let config = Cookie {
                name: None,
                secure,
                same_site: SameSite::Lax,
            };
            let mut headers = HeaderMap::new();
            headers.insert("host", "app.example.com".parse().unwrap());
            headers.insert("cookie", cookie.parse().unwrap());
            LoginCookie::new(&config).clear_duplicates(&Uri::from_static("/login"), &headers)
        };
        assert_eq!(
            clear(false, "berth=a; berth=b"),
            [
                "berth=; Domain=app.example.com; Path=/; Max-Age=0",
                "berth=; Domain=example.com; Path=/; Max-Age=0",
            ]
        );
        assert!(clear(false, "berth=a; other=b").is_empty());
        assert!(clear(true, "__Host-berth=a; __Host-berth=b").is_empty());
    }
}
