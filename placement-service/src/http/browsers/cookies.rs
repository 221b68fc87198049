//! The login cookie: reading it from a request, setting it, clearing it (S8, S9); and the anonymous
//! one that goes out in its stead (S18).

use crate::config::{Cookie, SameSite};
use crate::http::problem::HttpProblem;
use axum::http::{HeaderMap, HeaderValue, header};
use berth_store::session_id::SessionId;
use sha2::{Digest, Sha256};

/// The longest value of a login cookie that is looked at, in bytes.
const MAX_VALUE_BYTES: usize = 128;
/// Logins at OpenID providers that one browser may have under way: beyond, those before are given up.
const MAX_ATTEMPTS: usize = 5;

/// The name and the attributes of the cookies, from the configuration.
#[derive(Clone, Debug)]
pub struct LoginCookie {
    name: String,
    attributes: String,
    secure: bool,
}

impl LoginCookie {
    /// `__Host-berth` when secure, `berth` otherwise, unless named otherwise; no `Domain`, no persistence.
    #[must_use]
    pub fn new(config: &Cookie) -> Self {
        let default = if config.secure {
            "__Host-berth"
        } else {
            "berth"
        };
        Self {
            name: config.name.clone().unwrap_or_else(|| default.to_owned()),
            attributes: attributes(config, "/"),
            secure: config.secure,
        }
    }

    /// The cookie's value, if the request has one; an empty value is none.
    pub fn read<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, HttpProblem> {
        let value = find(headers, &self.name)?;
        if value.is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
            return Err(HttpProblem::cookie_too_long());
        }
        Ok(value)
    }

    /// The value of the cookie of a login that is under way at an OpenID provider. Each has one of its own, as the
    /// tabs of a browser may log in at once.
    pub fn attempt<'a>(
        &self,
        headers: &'a HeaderMap,
        state: &str,
    ) -> Result<Option<&'a str>, HttpProblem> {
        find(headers, &self.attempt_name(state))
    }

    /// The `Set-Cookie` value of such a login. Lax: the provider's page leads back here.
    #[must_use]
    pub fn set_attempt(&self, state: &str, sealed: &str, max_age_s: u64) -> Option<HeaderValue> {
        self.set_named(&self.attempt_name(state), sealed, max_age_s)
    }

    /// The `Set-Cookie` values that take such logins away when a browser has too many of them: a header has an end.
    #[must_use]
    pub fn clear_attempts(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let prefix = self.attempt_prefix();
        let is_attempt = |name: &&str| {
            let hash = name.strip_prefix(prefix.as_str());
            hash.is_some_and(|hash| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let names = headers.get_all(header::COOKIE).iter().flat_map(|header| {
            let pairs = header.as_bytes().split(|b| *b == b';');
            let names = pairs.filter_map(|pair| pair.trim_ascii().split(|b| *b == b'=').next());
            names.filter_map(|name| std::str::from_utf8(name).ok())
        });
        let names: Vec<_> = names.filter(is_attempt).collect();
        if names.len() < MAX_ATTEMPTS {
            return Vec::new();
        }
        let cleared = names.into_iter().map(|name| self.set_named(name, "", 0));
        cleared.flatten().collect()
    }

    fn set_named(&self, name: &str, sealed: &str, max_age_s: u64) -> Option<HeaderValue> {
        let secure = self.secure_attribute();
        let text =
            format!("{name}={sealed}; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age={max_age_s}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn attempt_prefix(&self) -> String {
        format!("{}-oidc-", self.name)
    }

    /// With a hash of the state, which is anybody's text until the cookie's value is looked at.
    fn attempt_name(&self, state: &str) -> String {
        let digest = Sha256::digest(state.as_bytes());
        let first = digest.first_chunk().copied().unwrap_or_default();
        format!("{}{:08x}", self.attempt_prefix(), u32::from_be_bytes(first))
    }

    const fn secure_attribute(&self) -> &'static str {
        if self.secure { "; Secure" } else { "" }
    }

    /// The `Set-Cookie` value that hands the id to the browser.
    #[must_use]
    pub fn set(&self, id: &SessionId) -> Option<HeaderValue> {
        let text = format!("{}={}{}", self.name, id.reveal(), self.attributes);
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The `Set-Cookie` value that takes it away.
    #[must_use]
    pub fn clear(&self) -> Option<HeaderValue> {
        let text = format!("{}={}; Max-Age=0", self.name, self.attributes);
        HeaderValue::try_from(text).ok()
    }

    /// The `Set-Cookie` value of an anonymous id. Never touches the login cookie.
    #[must_use]
    pub fn anonymous(&self, id: &str) -> String {
        let secure = self.secure_attribute();
        format!("berth-anon={id}; Path=/; HttpOnly; SameSite=Lax{secure}")
    }
}

/// What a cookie that the configuration is about has besides its value.
pub(in crate::http) fn attributes(config: &Cookie, path: &str) -> String {
    let more = match (config.same_site, config.secure) {
        (SameSite::Lax, true) => "SameSite=Lax; Secure",
        (SameSite::Strict, true) => "SameSite=Strict; Secure",
        (SameSite::None, _) => "SameSite=None; Secure",
        (SameSite::Lax, false) => "SameSite=Lax",
        (SameSite::Strict, false) => "SameSite=Strict",
    };
    format!("; Path={path}; HttpOnly; {more}")
}

/// The one value of a cookie, if it has any.
pub(in crate::http) fn find<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, HttpProblem> {
    let mut found = None;
    for header in headers.get_all(header::COOKIE) {
        for pair in header.as_bytes().split(|b| *b == b';') {
            let named = pair.trim_ascii().strip_prefix(name.as_bytes());
            let Some(value) = named.and_then(|rest| rest.strip_prefix(b"=")) else {
                continue;
            };
            if found.replace(value).is_some() {
                return Err(HttpProblem::cookie_duplicate());
            }
        }
    }
    // Whatever is not text is nothing of ours either.
    let value = found.filter(|value| !value.is_empty());
    Ok(value.map(|value| std::str::from_utf8(value).unwrap_or("?")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(secure: bool, same_site: SameSite) -> LoginCookie {
        LoginCookie::new(&Cookie {
            name: None,
            secure,
            same_site,
        })
    }

    fn read(headers: &[&[u8]]) -> Result<Option<String>, &'static str> {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append("cookie", HeaderValue::from_bytes(header).unwrap());
        }
        let value = cookie(false, SameSite::Lax).read(&map);
        value.map(|v| v.map(str::to_owned)).map_err(|p| p.reason())
    }

    #[test]
    fn the_cookie_is_found_among_others_and_only_once() {
        let value = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[b"a=1; berth=x; b=2"]), value("x"));
        assert_eq!(read(&[b"a=1", b"b=2;berth=x=y"]), value("x=y"));
        assert_eq!(read(&[b"xberth=1; berth2=2; Berth=3; berth"]), Ok(None));
        assert_eq!(read(&[b"berth="]), Ok(None));
        assert_eq!(read(&[b"berth=\xff"]), value("?"));
        assert_eq!(read(&[b"berth=x; berth=x"]), Err("cookie-duplicate"));
        assert_eq!(read(&[b"berth=x", b"berth="]), Err("cookie-duplicate"));
        let long = format!("berth={}", "a".repeat(MAX_VALUE_BYTES + 1));
        assert_eq!(read(&[long.as_bytes()]), Err("cookie-too-long"));
        assert!(read(&[&long.as_bytes()[..long.len() - 1]]).is_ok());
    }

    #[test]
    fn runtimes_on_one_host_have_cookies_of_their_own() {
        let named = |name: &str| {
            LoginCookie::new(&Cookie {
                name: Some(name.to_owned()),
                secure: false,
                same_site: SameSite::Lax,
            })
        };
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("flows=a; forms=b"));
        assert_eq!(named("flows").read(&headers).unwrap(), Some("a"));
        assert_eq!(named("forms").read(&headers).unwrap(), Some("b"));
        assert_eq!(named("berth").read(&headers).unwrap(), None);
        let set = named("flows").set(&SessionId::fresh()).unwrap();
        assert!(set.to_str().unwrap().starts_with("flows="));
    }

    #[test]
    fn attributes_are_as_configured() {
        let id = SessionId::fresh();
        let set = |secure, same_site| {
            let value = cookie(secure, same_site).set(&id).unwrap();
            let text = value.to_str().unwrap().replace(id.reveal(), "ID");
            (text, value.is_sensitive())
        };
        let expect = |text: &str| (text.to_owned(), true);
        assert_eq!(
            set(true, SameSite::Lax),
            expect("__Host-berth=ID; Path=/; HttpOnly; SameSite=Lax; Secure")
        );
        assert_eq!(
            set(true, SameSite::None),
            expect("__Host-berth=ID; Path=/; HttpOnly; SameSite=None; Secure")
        );
        assert_eq!(
            set(false, SameSite::Strict),
            expect("berth=ID; Path=/; HttpOnly; SameSite=Strict")
        );
        assert_eq!(
            cookie(true, SameSite::Lax).clear().unwrap(),
            "__Host-berth=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
        );
        assert_eq!(
            cookie(true, SameSite::None).anonymous("N"),
            "berth-anon=N; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        let attempt = |secure| {
            cookie(secure, SameSite::Strict)
                .set_attempt("abc", "S", 600)
                .unwrap()
        };
        // SHA-256 of "abc": FIPS 180-4, appendix.
        assert_eq!(
            attempt(true),
            "__Host-berth-oidc-ba7816bf=S; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"
        );
        assert_eq!(
            attempt(false),
            "berth-oidc-ba7816bf=S; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"
        );
    }

    #[test]
    fn a_browser_has_a_few_logins_under_way_and_no_more() {
        let cookie = cookie(false, SameSite::Lax);
        let mut headers = HeaderMap::new();
        let mut pairs = vec!["berth=x; berth-oidc-1=y; berth-oidc-zzzzzzzz=z".to_owned()];
        for n in 1..MAX_ATTEMPTS {
            let set = cookie.set_attempt(&n.to_string(), "S", 600).unwrap();
            pairs.push(set.to_str().unwrap().split(';').next().unwrap().to_owned());
        }
        headers.insert("cookie", pairs.join("; ").try_into().unwrap());
        assert_eq!(cookie.attempt(&headers, "1").unwrap(), Some("S"));
        assert_eq!(cookie.attempt(&headers, "9").unwrap(), None);
        assert!(cookie.clear_attempts(&headers).is_empty());
        headers.append("cookie", "berth-oidc-00000000=S".try_into().unwrap());
        let cleared = cookie.clear_attempts(&headers);
        assert_eq!(cleared.len(), MAX_ATTEMPTS);
        let last = "berth-oidc-00000000=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0";
        assert_eq!(cleared[MAX_ATTEMPTS - 1], last);
    }
}
