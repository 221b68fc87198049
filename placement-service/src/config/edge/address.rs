//! The address of an upstream of the edge: a host name or an IP address, and a port.

use serde::Deserialize;
use std::net::{IpAddr, Ipv6Addr};

/// `app.example.com:8080`, `10.0.0.5:8080` or `[2001:db8::1]:8080`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPort {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// Whether the host is an IP address, which needs no resolution.
    #[must_use]
    pub fn is_ip(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        parse(&text).ok_or_else(|| {
            format!("{text:?} is no address such as 10.0.0.5:8080 or app.example:80")
        })
    }
}

fn parse(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(inner) => inner.parse::<Ipv6Addr>().ok()?.to_string(),
        None if is_host_name(host) => host.to_owned(),
        None => return None,
    };
    Some(HostPort { host, port })
}

/// A host name (RFC 1123 section 2.1, and `_`, which names of containers have) or an IPv4 address.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let parsed = |text: &str| HostPort::try_from(text.to_owned()).ok();
        for (text, host, ip) in [
            ("app.example.com:8080", "app.example.com", false),
            ("10.0.0.5:8080", "10.0.0.5", true),
            ("[2001:db8::1]:8080", "2001:db8::1", true),
        ] {
            let address = parsed(text).unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, 8080));
            assert_eq!(address.is_ip(), ip);
        }
        for wrong in [
            "",
            "app",
            "app:",
            "app:0",
            "app:70000",
            "a b:1",
            "a\n:1",
            "2001:db8::1:80",
            ":80",
            "[app]:80",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
