//! Mira's list of engines: every accepted engine has a port and a unique address.
use berth_placement::engines::discovery::mira::parse;
use std::collections::HashSet;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(engines) = parse(data, None) {
        let found = engines.usable;
        assert!(found.iter().all(|f| f.endpoint.api.port() > 0));
        let addresses: HashSet<_> = found.iter().map(|f| f.endpoint.api).collect();
        assert_eq!(addresses.len(), found.len());
    }
}
