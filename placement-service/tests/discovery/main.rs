//! Discovery sources against servers that imitate the real ones, over real sockets: the engines that they find, and
//! what happens to the list on failures.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod dns;
mod docker;
mod endpoint_slices;
mod fake_kubernetes;
mod file;
mod fleet;
mod kubernetes;
mod kubernetes_proxy;
mod mira;

use berth_placement::engines::discovery::{
    DesiredState, DiscoveredEngine, Discovery, DiscoveryFault,
};
use std::time::Duration;
use tokio::time::timeout;

/// Upper bound of every wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(60);
/// No update may arrive within this time.
const QUIET_PERIOD: Duration = Duration::from_millis(300);

async fn next_list(
    discovery: &mut impl Discovery,
) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
    timeout(TIMEOUT, discovery.next()).await.unwrap()
}

/// The next list. Faults before it are ignored.
async fn next_list_after_faults(discovery: &mut impl Discovery) -> Vec<DiscoveredEngine> {
    let found = async {
        loop {
            match discovery.next().await {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(TIMEOUT, found).await.unwrap()
}

async fn is_quiet(discovery: &mut impl Discovery) -> bool {
    timeout(QUIET_PERIOD, discovery.next()).await.is_err()
}

/// Each engine as `name@address`, with the suffix `~` for cordoned and `!` for draining.
fn format_engines(found: &[DiscoveredEngine]) -> Vec<String> {
    let engines = found.iter().map(|f| {
        let mark = match f.desired_state {
            DesiredState::Active => "",
            DesiredState::Cordoned => "~",
            DesiredState::Draining => "!",
        };
        format!("{}@{}{mark}", f.name, f.endpoint.api)
    });
    let mut engines: Vec<String> = engines.collect();
    engines.sort();
    engines
}
