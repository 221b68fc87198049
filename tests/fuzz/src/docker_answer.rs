//! Docker's lists of containers, services and tasks: every accepted engine has a port.
use berth_placement::config::DockerSource;
use berth_placement::engines::discovery::docker::{EngineFilter, parse_containers, parse_tasks};
use std::sync::LazyLock;

static CONFIG: LazyLock<DockerSource> = LazyLock::new(|| serde_json::from_str("{}").unwrap());

/// Checks one input.
pub(crate) fn run(data: &[u8]) {
    let wanted = EngineFilter::new(&CONFIG);
    let (services, running) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(0));
    for engines in [parse_containers(data, wanted), parse_tasks(services, running, wanted)] {
        let found = engines.map(|engines| engines.usable).unwrap_or_default();
        assert!(found.iter().all(|f| f.endpoint.api.port() > 0));
    }
}
