//! `X-Forwarded-For` and the client address: when a trusted hop has added its own entry, an entry of an untrusted hop
//! never becomes the client address.
use berth_placement::core::client_address::{client_address, rate_limit_network};
use std::net::IpAddr;

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let headers = || data.split(|byte| *byte == b'\n');
    assert_eq!(client_address(headers(), PEER, 0), PEER);
    for trusted in [1, 2, u32::MAX] {
        let address = client_address(headers(), PEER, trusted);
        assert_eq!(address, address.to_canonical());
        assert_eq!(rate_limit_network(rate_limit_network(address)), rate_limit_network(address));
    }
    let seen = headers().chain([&b"198.51.100.7"[..]]).collect::<Vec<_>>();
    let address = client_address(seen.into_iter(), PEER, 1);
    assert_eq!(address.to_string(), "198.51.100.7");
}
