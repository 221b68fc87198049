//! The login cookie: reading it from a request, setting it, clearing it (S8, S9); and the anonymous
//! one that goes out in its stead (S18).

use super::problem::HttpProblem;
use crate::config::{Cookie, SameSite};
use crate::session_id::SessionId;
use axum::http::{HeaderMap, HeaderValue, header};

/// The longest value of a login cookie that is looked at, in bytes.
const MAX_VALUE_BYTES: usize = 128;

/// The name and the attributes of the cookies, from the configuration.
#[derive(Clone, Debug)]
pub struct LoginCookie {
    name: String,
    attributes: &'static str,
    secure: bool,
}

impl LoginCookie {
    /// `__Host-berth` when secure, `berth` otherwise, unless named otherwise; no `Domain`, no persistence.
    #[must_use]
    pub fn new(config: &Cookie) -> Self {
        let attributes = match (config.same_site, config.secure) {
            (SameSite::Lax, true) => "; Path=/; HttpOnly; SameSite=Lax; Secure",
            (SameSite::Strict, true) => "; Path=/; HttpOnly; SameSite=Strict; Secure",
            (SameSite::None, _) => "; Path=/; HttpOnly; SameSite=None; Secure",
            (SameSite::Lax, false) => "; Path=/; HttpOnly; SameSite=Lax",
            (SameSite::Strict, false) => "; Path=/; HttpOnly; SameSite=Strict",
        };
        let default = if config.secure {
            "__Host-berth"
        } else {
            "berth"
        };
        Self {
            name: config.name.clone().unwrap_or_else(|| default.to_owned()),
            attributes,
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

    /// The value of the cookie of a login that is under way at an OpenID provider.
    pub fn attempt<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, HttpProblem> {
        find(headers, &self.attempt_name())
    }

    /// The `Set-Cookie` value of such a login. Lax: the provider's page leads back here.
    #[must_use]
    pub fn set_attempt(&self, sealed: &str, max_age_s: u64) -> Option<HeaderValue> {
        let (name, secure) = (self.attempt_name(), self.secure_attribute());
        let text =
            format!("{name}={sealed}; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age={max_age_s}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn attempt_name(&self) -> String {
        format!("{}-oidc", self.name)
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

/// The one value of a cookie, if it has any.
fn find<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, HttpProblem> {
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
                .set_attempt("S", 600)
                .unwrap()
        };
        assert_eq!(
            attempt(true),
            "__Host-berth-oidc=S; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600"
        );
        assert_eq!(
            attempt(false),
            "berth-oidc=S; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"
        );
    }
}
