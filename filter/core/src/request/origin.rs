//! Which pages may open a WebSocket or send a request with an unsafe method: compares the `Origin` header with the origin of the request itself and with the
//! configured list. A browser sends cookies with a WebSocket, and with some requests, from any page; this check prevents
//! cross-site WebSocket hijacking and cross-site request forgery. Knows no cookies and no routes.

/// An origin ([RFC 6454](https://www.rfc-editor.org/rfc/rfc6454)): scheme, host, port. Origins compare without case,
/// and with the default port of the scheme filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses exactly `scheme://host[:port]`. `null` and `*` are no origin.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        Self::from_parts(scheme, authority)
    }

    /// The origin of a request with this scheme and authority.
    #[must_use]
    pub fn from_parts(scheme: &str, authority: &str) -> Option<Self> {
        let scheme = scheme.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" | "ws" => 80,
            "https" | "wss" => 443,
            _ => return None,
        };
        let (host, port) = split_port(authority)?;
        let port = match port {
            None => default_port,
            Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
        };
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

/// Whether a page with this `Origin` header may send a request to `own_origin`. A request without the header does
/// not come from a page, so it is allowed.
#[must_use]
pub fn is_allowed(origin: Option<&[u8]>, own_origin: Option<&Origin>, listed: &[Origin]) -> bool {
    let Some(origin) = origin else { return true };
    let Some(origin) = str::from_utf8(origin).ok().and_then(Origin::parse) else {
        return false;
    };
    own_origin == Some(&origin) || listed.contains(&origin)
}

/// The host of an authority, without its port.
#[must_use]
pub fn host(authority: &str) -> &str {
    split_port(authority).map_or(authority, |(host, _)| host)
}

/// Whether a text is one host, with or without a port.
#[must_use]
pub fn is_authority(text: &str) -> bool {
    split_port(text).is_some()
}

/// Host and port digits of an authority; an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']')?.checked_add(1)?;
        let (host, port_suffix) = authority.split_at_checked(end)?;
        match port_suffix {
            "" => (host, None),
            _ => (host, Some(port_suffix.strip_prefix(':')?)),
        }
    } else {
        match authority.split_once(':') {
            None => (authority, None),
            Some((host, port)) => (host, Some(port)),
        }
    };
    let digits = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    (is_host(host) && digits).then_some((host, port))
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| {
            !address.is_empty()
                && address
                    .bytes()
                    .all(|b| b.is_ascii_hexdigit() || b":.".contains(&b))
        });
    }
    !host.is_empty()
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn same(origin: &str, scheme: &str, authority: &str) -> bool {
        let own_origin = Origin::from_parts(scheme, authority);
        is_allowed(Some(origin.as_bytes()), own_origin.as_ref(), &[])
    }

    #[test]
    fn its_own_origin_is_allowed_in_every_spelling() {
        assert!(same("https://app.example.com", "https", "app.example.com"));
        assert!(same(
            "HTTPS://App.Example.com",
            "https",
            "app.example.com:443"
        ));
        assert!(same("http://app.example.com:80", "http", "app.example.com"));
        assert!(same("http://127.0.0.1:8080", "http", "127.0.0.1:8080"));
        assert!(same("http://[::1]:8080", "http", "[::1]:8080"));
    }

    #[test]
    fn other_origins_are_denied() {
        for origin in [
            "https://app.example.com.evil.net",
            "https://evil.net",
            "https://app.example.com:8443",
            "http://app.example.com",
            "https://app.example.com/",
            "https://user@app.example.com",
            "https://app.example.com https://evil.net",
            "app.example.com",
            "null",
            "*",
            "",
            "https://",
            "https://app.example.com:",
            "https://app.example.com:443x",
            "https://app.example.com:65979",
        ] {
            assert!(!same(origin, "https", "app.example.com"), "{origin}");
        }
    }

    #[test]
    fn a_listed_origin_is_allowed_and_only_that_one() {
        let listed = [Origin::parse("https://portal.example.com").unwrap()];
        let own_origin = Origin::from_parts("https", "app.example.com");
        let is_allowed_origin =
            |origin: &[u8]| is_allowed(Some(origin), own_origin.as_ref(), &listed);
        assert!(is_allowed_origin(b"https://portal.example.com:443"));
        assert!(!is_allowed_origin(b"https://portal.example.com.evil.net"));
        assert!(!is_allowed_origin(b"https://\xff"));
    }

    #[test]
    fn a_request_without_an_origin_is_allowed() {
        assert!(is_allowed(None, None, &[]));
    }

    #[test]
    fn a_malformed_authority_has_no_origin() {
        for authority in ["", "a:b", "[::1", "[::1]x", "[]", "a b", "a,b", "host:0"] {
            assert_eq!(Origin::from_parts("http", authority), None, "{authority}");
        }
    }
}
