//! Discoveries against servers that speak as the real ones do, over real sockets: what they find, and what
//! becomes of their lists when things go wrong.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod dns;
mod docker;
mod file;
mod fleet;
mod kubernetes;
mod mira;

use berth_placement::engines::discovery::{Discovery, DiscoveryFault, Found, Wish};
use std::time::Duration;
use tokio::time::timeout;

/// Far longer than anything that is awaited here may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long there must be no news.
const QUIET: Duration = Duration::from_millis(300);

async fn news(discovery: &mut impl Discovery) -> Result<Vec<Found>, DiscoveryFault> {
    timeout(PATIENCE, discovery.next()).await.unwrap()
}

/// The next list, whatever faults come before it.
async fn list(discovery: &mut impl Discovery) -> Vec<Found> {
    let found = async {
        loop {
            match discovery.next().await {
                Ok(found) => return found,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}

async fn is_quiet(discovery: &mut impl Discovery) -> bool {
    timeout(QUIET, discovery.next()).await.is_err()
}

/// `name@address`, and `~` when it is to get nothing new, `!` when it is drained.
fn told(found: &[Found]) -> Vec<String> {
    let told = found.iter().map(|f| {
        let mark = match f.wish {
            Wish::InUse => "",
            Wish::NothingNew => "~",
            Wish::Drained => "!",
        };
        format!("{}@{}{mark}", f.name, f.endpoint.api)
    });
    let mut told: Vec<String> = told.collect();
    told.sort();
    told
}
