//! A Mira's list of engines: whatever is taken has a port and an address of its own.
use berth_placement::engines::discovery::mira::parse;
use std::collections::HashSet;

/// One input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(engines) = parse(data, None) {
        let found = engines.found;
        assert!(found.iter().all(|f| f.endpoint.api.port() > 0));
        let addresses: HashSet<_> = found.iter().map(|f| f.endpoint.api).collect();
        assert_eq!(addresses.len(), found.len());
    }
}
