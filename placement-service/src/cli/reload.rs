//! `berth reload` and `berth config show`: the running service reads its configuration file again, and prints what is in
//! force.

use super::output::print_json;
use super::service_client::ServiceArgs;
use super::{Failure, print};
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;

#[derive(clap::Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    service: ServiceArgs,
}

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the settings in force in the running service as JSON, with their defaults. Secrets are hidden.
    Show {
        #[command(flatten)]
        service: ServiceArgs,
    },
}

/// Has the service read its configuration file again, and prints the effect.
pub(super) async fn reload(args: ReloadArgs) -> Result<(), Failure> {
    let service = args.service.build_client()?;
    let path = ["v1", "reload"];
    let report = service.send_request(Method::POST, &path, &[]).await?;
    let list = |name: &str| {
        let items = report.get(name).and_then(Value::as_array);
        let items = items.into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>()
    };
    for warning in list("warnings") {
        print(&format!("warning: {warning}"))?;
    }
    let (applied, restart) = (list("applied"), list("restart"));
    if applied.is_empty() {
        print("no change takes effect")?;
    } else {
        print(&format!("in force now: {}", applied.join(", ")))?;
    }
    if !restart.is_empty() {
        let restart = restart.join(", ");
        print(&format!("needs a restart of the service: {restart}"))?;
    }
    if report.get("render") == Some(&Value::Bool(true)) {
        print("the files of the edge have changed: run `berth render` again")?;
    }
    Ok(())
}

/// Runs `berth config`.
pub(super) async fn config(command: ConfigCommand) -> Result<(), Failure> {
    let ConfigCommand::Show { service } = command;
    let service = service.build_client()?;
    let path = ["v1", "config"];
    let settings = service.send_request(Method::GET, &path, &[]).await?;
    print_json(&settings)
}
