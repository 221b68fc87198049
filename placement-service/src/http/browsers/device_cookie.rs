//! Reads and sets the cookie of browsers that have logged in before. Its path is that of the login, so that browsers
//! send it neither to engines nor to applications. `login::devices` makes and verifies its value.

use super::cookies::{attributes, find_cookie};
use crate::config::Cookie;
use crate::login::devices::DEVICE_LIFETIME_MS;
use axum::http::{HeaderMap, HeaderValue};

const PATH: &str = "/login";

/// The name and the attributes of the cookie, from the configuration.
#[derive(Clone, Debug)]
pub struct DeviceCookie {
    name: String,
    attributes: String,
}

impl DeviceCookie {
    /// `__Secure-berth-device` if secure, else `berth-device`; a configured name of the login cookie replaces `berth`.
    /// Never `__Host-`, because that prefix requires the path `/`.
    #[must_use]
    pub fn new(config: &Cookie) -> Self {
        let base = config.name.as_deref().unwrap_or("berth");
        let base = base.strip_prefix("__Host-").unwrap_or(base);
        let base = base.strip_prefix("__Secure-").unwrap_or(base);
        let prefix = if config.secure { "__Secure-" } else { "" };
        let max_age_s = DEVICE_LIFETIME_MS / 1000;
        Self {
            name: format!("{prefix}{base}-device"),
            attributes: format!("{}; Max-Age={max_age_s}", attributes(config, PATH)),
        }
    }

    /// The cookie's value; empty if there is none or more than one, because a login works without it.
    pub fn read<'a>(&self, headers: &'a HeaderMap) -> &'a str {
        let value = find_cookie(headers, &self.name).ok().flatten();
        value.unwrap_or_default()
    }

    /// The `Set-Cookie` value of the device cookie.
    #[must_use]
    pub fn set(&self, value: &str) -> Option<HeaderValue> {
        let text = format!("{}={value}{}", self.name, self.attributes);
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SameSite;

    fn set(name: Option<&str>, secure: bool, same_site: SameSite) -> String {
        let cookie = DeviceCookie::new(&Cookie {
            name: name.map(str::to_owned),
            secure,
            same_site,
        });
        let value = cookie.set("V").unwrap();
        assert!(value.is_sensitive());
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn it_is_sent_to_the_login_only_with_the_attributes_of_the_login_cookie() {
        assert_eq!(
            set(None, true, SameSite::Strict),
            "__Secure-berth-device=V; Path=/login; HttpOnly; SameSite=Strict; Secure; Max-Age=7776000"
        );
        assert_eq!(
            set(None, false, SameSite::Lax),
            "berth-device=V; Path=/login; HttpOnly; SameSite=Lax; Max-Age=7776000"
        );
        for name in ["flows", "__Host-flows", "__Secure-flows"] {
            let set_cookie = set(Some(name), true, SameSite::None);
            assert!(
                set_cookie.starts_with("__Secure-flows-device=V; "),
                "{set_cookie}"
            );
        }
    }

    #[test]
    fn a_duplicate_counts_as_none() {
        let cookie = DeviceCookie::new(&Cookie {
            name: None,
            secure: false,
            same_site: SameSite::Lax,
        });
        let read_cookie = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_static(text));
            cookie.read(&headers).to_owned()
        };
        assert_eq!(read_cookie("berth=x; berth-device=y"), "y");
        assert_eq!(read_cookie("berth=x"), "");
        assert_eq!(read_cookie("berth-device=x; berth-device=y"), "");
    }
}
