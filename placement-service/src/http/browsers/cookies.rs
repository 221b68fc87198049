//! Reads, sets and clears the login cookie, and the cookies of OpenID logins in progress. Sets the anonymous cookie,
//! which a client with a stale login cookie gets. Knows no session.

mod duplicates;

use crate::config::{ANONYMOUS_NAME, Cookie, SameSite};
use crate::http::problem::HttpProblem;
use axum::http::{HeaderMap, HeaderValue, header};
use berth_store::session_id::SessionId;
use sha2::{Digest, Sha256};

/// Maximum length of the value of a login cookie, in bytes.
const MAX_VALUE_BYTES: usize = 128;
/// Maximum number of OpenID logins in progress per browser. One more abandons the others.
const MAX_LOGIN_STATES: usize = 5;

/// The names and attributes of these cookies, from the configuration.
#[derive(Clone, Debug)]
pub struct LoginCookie {
    name: String,
    attributes: String,
    secure: bool,
}

impl LoginCookie {
    /// Without a configured name, `__Host-berth` if secure, else `berth`. Without `Domain` and `Max-Age`.
    #[must_use]
    pub fn new(config: &Cookie) -> Self {
        Self {
            name: config.effective_name().to_owned(),
            attributes: attributes(config, "/"),
            secure: config.secure,
        }
    }

    /// The value of the login cookie, if the request has one; an empty value counts as none.
    pub fn read<'a>(&self, headers: &'a HeaderMap) -> Result<Option<&'a str>, HttpProblem> {
        let value = find_cookie(headers, &self.name)?;
        if value.is_some_and(|value| value.len() > MAX_VALUE_BYTES) {
            return Err(HttpProblem::cookie_too_long());
        }
        Ok(value)
    }

    /// As [`LoginCookie::read`], where a cookie that cannot be read counts as none, because the response replaces or
    /// clears it: in a login and in a logout.
    pub fn read_replaceable<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        self.read(headers).ok().flatten()
    }

    /// The value of the cookie of an OpenID login in progress. Each login has its own cookie, because several tabs of a
    /// browser may log in at once.
    pub fn read_login_state<'a>(
        &self,
        headers: &'a HeaderMap,
        state: &str,
    ) -> Result<Option<&'a str>, HttpProblem> {
        find_cookie(headers, &self.login_state_name(state))
    }

    /// The `Set-Cookie` value of an OpenID login. `SameSite=Lax`, because the provider's page redirects back here.
    #[must_use]
    pub fn set_login_state(
        &self,
        state: &str,
        sealed: &str,
        max_age_s: u64,
    ) -> Option<HeaderValue> {
        self.set_named(&self.login_state_name(state), sealed, max_age_s)
    }

    /// The `Set-Cookie` values that clear the cookies of OpenID logins if a browser has too many, because the size of a
    /// header is limited.
    #[must_use]
    pub fn clear_login_states(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let prefix = self.login_state_prefix();
        let is_login_state = |name: &&str| {
            let hash = name.strip_prefix(prefix.as_str());
            hash.is_some_and(|hash| hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        let names = headers.get_all(header::COOKIE).iter().flat_map(|header| {
            let pairs = header.as_bytes().split(|b| *b == b';');
            let names = pairs.filter_map(|pair| pair.trim_ascii().split(|b| *b == b'=').next());
            names.filter_map(|name| std::str::from_utf8(name).ok())
        });
        let names: Vec<_> = names.filter(is_login_state).collect();
        if names.len() < MAX_LOGIN_STATES {
            return Vec::new();
        }
        let clearing_cookies = names.into_iter().map(|name| self.set_named(name, "", 0));
        clearing_cookies.flatten().collect()
    }

    fn set_named(&self, name: &str, sealed: &str, max_age_s: u64) -> Option<HeaderValue> {
        let secure = self.secure_attribute();
        let text =
            format!("{name}={sealed}; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age={max_age_s}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn login_state_prefix(&self) -> String {
        format!("{}-oidc-", self.name)
    }

    /// Contains a hash of the state, because the state is untrusted text until the cookie's value is verified.
    fn login_state_name(&self, state: &str) -> String {
        let digest = Sha256::digest(state.as_bytes());
        let first = digest.first_chunk().copied().unwrap_or_default();
        format!(
            "{}{:08x}",
            self.login_state_prefix(),
            u32::from_be_bytes(first)
        )
    }

    const fn secure_attribute(&self) -> &'static str {
        if self.secure { "; Secure" } else { "" }
    }

    /// The `Set-Cookie` value that gives the session id to the browser.
    #[must_use]
    pub fn set(&self, id: &SessionId) -> Option<HeaderValue> {
        let text = format!("{}={}{}", self.name, id.reveal(), self.attributes);
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The `Set-Cookie` value that clears the login cookie.
    #[must_use]
    pub fn clear(&self) -> Option<HeaderValue> {
        let text = format!("{}={}; Max-Age=0", self.name, self.attributes);
        HeaderValue::try_from(text).ok()
    }

    /// The `Set-Cookie` value of an anonymous id. It does not change the login cookie. If secure, the name has the
    /// prefix `__Host-`, so that sibling hosts cannot set it.
    #[must_use]
    pub fn set_anonymous(&self, id: &str) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        let secure = self.secure_attribute();
        format!("{prefix}{ANONYMOUS_NAME}={id}; Path=/; HttpOnly; SameSite=Lax{secure}")
    }
}

/// The attributes of a cookie, from the configuration.
pub(in crate::http) fn attributes(config: &Cookie, path: &str) -> String {
    let attributes = match (config.same_site, config.secure) {
        (SameSite::Lax, true) => "SameSite=Lax; Secure",
        (SameSite::Strict, true) => "SameSite=Strict; Secure",
        (SameSite::None, _) => "SameSite=None; Secure",
        (SameSite::Lax, false) => "SameSite=Lax",
        (SameSite::Strict, false) => "SameSite=Strict",
    };
    format!("; Path={path}; HttpOnly; {attributes}")
}

/// The value of a cookie, if it has one. A cookie that occurs twice is an error.
pub(in crate::http) fn find_cookie<'a>(
    headers: &'a HeaderMap,
    name: &str,
) -> Result<Option<&'a str>, HttpProblem> {
    let mut cookie_value = None;
    for header in headers.get_all(header::COOKIE) {
        for pair in header.as_bytes().split(|b| *b == b';') {
            let after_name = pair.trim_ascii().strip_prefix(name.as_bytes());
            let Some(value) = after_name.and_then(|after_name| after_name.strip_prefix(b"="))
            else {
                continue;
            };
            if cookie_value.replace(value).is_some() {
                return Err(HttpProblem::cookie_duplicate());
            }
        }
    }
    // The service sets only text, so any other value is replaced by one that matches nothing.
    let value = cookie_value.filter(|value| !value.is_empty());
    Ok(value.map(|value| std::str::from_utf8(value).unwrap_or("?")))
}

#[cfg(test)]
mod tests;
