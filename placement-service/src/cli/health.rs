//! `berth health`: asks the running service whether it is ready. The health check of a container image, which has no
//! other HTTP client.

use super::service_client::ServiceArgs;
use super::{Failure, print};
use reqwest::Method;

#[derive(clap::Args)]
pub(super) struct HealthArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

/// Prints the service's answer, or fails with it if the service is not ready.
pub(super) async fn run(args: HealthArgs) -> Result<(), Failure> {
    let service = args.service.build_anonymous_client()?;
    let (status, body) = service
        .fetch(Method::GET, &["health", "ready"], &[])
        .await?;
    let body = String::from_utf8_lossy(&body);
    if status.is_success() {
        return print(&body);
    }
    Err(service.failure(&format!("{status}: {body}")))
}
