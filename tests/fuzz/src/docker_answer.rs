//! Docker's lists of containers, services and tasks: every accepted engine has a port.
use berth_placement::config::DockerSource;
use berth_placement::engines::discovery::docker::{Wanted, containers, tasks};
use std::sync::LazyLock;

static CONFIG: LazyLock<DockerSource> = LazyLock::new(|| serde_json::from_str("{}").unwrap());

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let wanted = Wanted::new(&CONFIG);
    let (services, running) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(0));
    for engines in [containers(data, wanted), tasks(services, running, wanted)] {
        let found = engines.map(|engines| engines.found).unwrap_or_default();
        assert!(found.iter().all(|f| f.endpoint.api.port() > 0));
    }
}
