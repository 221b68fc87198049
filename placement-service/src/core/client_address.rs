//! Finds the address of a client behind proxies: only entries of `X-Forwarded-For` that trusted proxies have written
//! count, never an entry that a client can write.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Returns the client's address. Takes the `X-Forwarded-For` headers of a request in order, the peer's address, and the
/// number of trusted proxies. Each trusted proxy appends the address of its peer on the right (as Envoy does with
/// `use_remote_address`); entries further left come from the client. Without a header, or if the entry is not an
/// address, the result is the peer's address.
#[must_use]
pub fn client_address<'a>(
    forwarded_for: impl DoubleEndedIterator<Item = &'a [u8]>,
    peer: IpAddr,
    trusted: u32,
) -> IpAddr {
    let hops = forwarded_for
        .rev()
        .flat_map(|header| header.rsplit(is_comma));
    let trusted = usize::try_from(trusted).unwrap_or(usize::MAX);
    // With fewer hops than trusted proxies, the request passed fewer proxies.
    let first = hops.take(trusted).last();
    let address = first.and_then(parse_address).unwrap_or(peer);
    address.to_canonical()
}

/// The key of a rate limit: an IPv4 address, or the IPv6 network of one customer (/64, see RFC 6177).
#[must_use]
pub const fn rate_limit_network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "called by rsplit")]
const fn is_comma(byte: &u8) -> bool {
    *byte == b','
}

/// Parses `192.0.2.1` and `2001:db8::1`, either with a port, and IPv6 in brackets.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    text.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PEER: &str = "10.9.9.9";

    fn client(headers: &[&str], trusted: u32) -> String {
        let headers = headers.iter().map(|header| header.as_bytes());
        client_address(headers, PEER.parse().unwrap(), trusted).to_string()
    }

    #[test]
    fn only_entries_of_trusted_proxies_count() {
        let forged = &["1.1.1.1, 2.2.2.2,3.3.3.3"];
        assert_eq!(client(forged, 0), PEER);
        assert_eq!(client(forged, 1), "3.3.3.3");
        assert_eq!(client(forged, 2), "2.2.2.2");
        assert_eq!(client(forged, 3), "1.1.1.1");
        assert_eq!(client(forged, 16), "1.1.1.1");
        assert_eq!(client(&["1.1.1.1", "2.2.2.2, 3.3.3.3"], 1), "3.3.3.3");
        assert_eq!(client(&["1.1.1.1", "3.3.3.3"], 2), "1.1.1.1");
        assert_eq!(client(&[], 1), PEER);
    }

    #[test]
    fn addresses_have_several_forms() {
        for (text, expected) in [
            ("2001:db8::1", "2001:db8::1"),
            (" [2001:db8::1] ", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("192.0.2.1:443", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("unknown", PEER),
            ("", PEER),
            ("192.0.2.1,", PEER),
            ("1.1.1.1, _hidden", PEER),
        ] {
            assert_eq!(client(&[text], 1), expected, "{text}");
        }
    }

    #[test]
    fn an_ipv6_customer_has_one_network() {
        let network_of = |text: &str| rate_limit_network(text.parse().unwrap()).to_string();
        assert_eq!(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(
            network_of("2001:db8:1:2:ffff::"),
            network_of("2001:db8:1:2:3:4:5:6")
        );
        assert_ne!(network_of("2001:db8:1:3::"), network_of("2001:db8:1:2::"));
        assert_eq!(network_of("192.0.2.1"), "192.0.2.1");
    }

    proptest! {
        #[test]
        fn entries_of_the_client_are_ignored(
            forged in proptest::collection::vec(any::<u8>(), 0..60),
            seen in any::<[u8; 4]>(),
        ) {
            let seen = IpAddr::from(seen);
            let header = [&forged[..], b", ", seen.to_string().as_bytes()].concat();
            let peer = PEER.parse().unwrap();
            prop_assert_eq!(client_address([&header[..]].into_iter(), peer, 1), seen);
        }
    }
}
