//! Logging in.

use super::check::Faults;
use crate::return_to::ReturnTo;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Where a login goes that named no `return_to`.
    pub default_return_to: String,
    /// Origins besides the request's own host that may post the login form.
    pub trusted_origins: Vec<String>,
}

pub(super) fn check(login: &Login, faults: &mut Faults) {
    if ReturnTo::parse(&login.default_return_to).is_none() {
        faults.add(
            "login.default_return_to",
            "must be a path of this site, such as /",
        );
    }
    for (index, origin) in login.trusted_origins.iter().enumerate() {
        if !is_origin(origin) {
            let path = format!("login.trusted_origins[{index}]");
            faults.add(path, "must be an origin such as https://app.example.com");
        }
    }
}

/// `scheme://host[:port]` in lower case, as browsers send it (RFC 6454 section 6.2).
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    rest.is_some_and(|authority| {
        let allowed =
            |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b':' | b'[' | b']');
        !authority.is_empty() && authority.bytes().all(allowed)
    })
}
