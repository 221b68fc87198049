//! A discovery file: every accepted engine has a unique name and a port.
use berth_placement::engines::discovery::file::parse;
use std::collections::HashSet;

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    if let Ok(found) = parse(data) {
        assert!(found.iter().all(|f| f.endpoint.api.port() > 0));
        let names: HashSet<_> = found.iter().map(|f| &f.name).collect();
        assert_eq!(names.len(), found.len());
    }
}
