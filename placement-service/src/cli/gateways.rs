//! `berth gateways`: lists Envoys and drains one before it stops, through the running service.

use super::drain_wait::{DrainWait, OpenStreams, drain_duration};
use super::output::{Listing, OutputArgs};
use super::service_client::{ServiceArgs, ServiceClient};
use super::{Failure, print};
use berth_placement::core::http_client;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A drain is known to all replicas, and their counts to each other, after this time.
const SETTLE_TIME: Duration = Duration::from_secs(3);
/// Timeout of the request to Envoy's admin port.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
const COLUMNS: [&str; 5] = ["NODE", "DRAIN", "WEBSOCKETS", "WORKERS", "FILTER"];

#[derive(Subcommand)]
pub(super) enum GatewaysCommand {
    /// List the Envoys that report: node.id, whether it is draining or also refusing, open WebSockets, workers, versions
    /// of the filter. As JSON, each worker.
    Ls {
        #[command(flatten)]
        output: OutputArgs,
        #[command(flatten)]
        service: ServiceArgs,
    },
    /// Drain an Envoy before it stops: its WebSockets are closed, spread over a time.
    Drain(DrainArgs),
    /// End the drain of an Envoy: it accepts new WebSockets again.
    Undrain {
        /// The node.id of the Envoy.
        #[arg(value_name = "NODE")]
        node: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

#[derive(clap::Args)]
pub(super) struct DrainArgs {
    /// The node.id of the Envoy.
    #[arg(value_name = "NODE", env = "BERTH_NODE")]
    node: String,
    /// The time over which its WebSockets are closed.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    over: String,
    /// Refuse new WebSockets with 503, so that clients try another Envoy.
    #[arg(long)]
    refuse: bool,
    /// First make the health check of the Envoy fail, at its admin port, such as http://127.0.0.1:9901.
    #[arg(long, value_name = "URL")]
    envoy_admin: Option<reqwest::Url>,
    /// Wait so long before the drain, so that load balancers stop sending new clients.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    delay: humantime_serde::re::humantime::Duration,
    /// Wait until no WebSocket is open, and fail if some are 15 s after that time.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    service: ServiceArgs,
}

/// Runs the command.
pub(super) async fn run(command: GatewaysCommand) -> Result<(), Failure> {
    match command {
        GatewaysCommand::Ls { output, service } => {
            let listed = list_gateways(&service.build_client()?).await?;
            let rows = envoy_rows(&listed.gateways);
            output.print(&Listing {
                columns: &COLUMNS,
                names: rows.iter().filter_map(|row| row.first().cloned()).collect(),
                rows,
                json: Value::Array(listed.gateways),
            })?;
            if listed.complete {
                return Ok(());
            }
            let fault =
                "the store does not answer: Envoys that report to other replicas are missing";
            Err(Failure(fault.to_owned()))
        }
        GatewaysCommand::Drain(command) => drain(command).await,
        GatewaysCommand::Undrain { node, service } => {
            let service = service.build_client()?;
            let path = ["v1", "gateways", &node, "drain"];
            service.send_request(Method::DELETE, &path, &[]).await?;
            print(&format!("{node} is no longer drained"))
        }
    }
}

async fn drain(command: DrainArgs) -> Result<(), Failure> {
    let DrainArgs {
        node,
        over,
        refuse,
        envoy_admin,
        delay,
        wait,
        service,
    } = command;
    let service = service.build_client()?;
    if let Some(admin) = envoy_admin {
        fail_health_check(&admin).await?;
        print(&format!("the health check of the Envoy at {admin} fails"))?;
    }
    tokio::time::sleep(*delay).await;
    let path = ["v1", "gateways", &node, "drain"];
    let refuse = if refuse { "true" } else { "false" };
    let query = [("over", over.as_str()), ("refuse", refuse)];
    let drained = service.send_request(Method::POST, &path, &query).await?;
    let message = if number(&drained, "gateways") == 0 {
        format!("{node} is drained; no worker of it reports")
    } else {
        let open = number(&drained, "streams");
        format!("{node} is drained; open WebSockets: {open}")
    };
    print(&message)?;
    if !wait {
        return Ok(());
    }
    let drain = DrainWait {
        name: &node,
        over: drain_duration(&drained),
        settle: SETTLE_TIME,
    };
    drain
        .wait(async || {
            let listed = list_gateways(&service).await?;
            Ok(OpenStreams {
                open: open_streams(&listed.gateways, &node),
                complete: listed.complete,
            })
        })
        .await?;
    print(&format!("{node} has no open WebSockets"))
}

/// From now on Envoy's health check fails, and Envoy asks clients to close their connections.
async fn fail_health_check(admin: &reqwest::Url) -> Result<(), Failure> {
    let fault = |cause: String| Failure(format!("the admin port of Envoy at {admin}: {cause}"));
    let url = admin.join("/healthcheck/fail")?;
    let client = http_client::client_builder()
        .timeout(ADMIN_TIMEOUT)
        .build()?;
    let answer = client.post(url).send().await;
    let answer = answer.map_err(|error| fault(http_client::root_cause(&error)))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status => Err(fault(status.to_string())),
    }
}

/// The answer of the service: an entry for each worker.
struct GatewayList {
    gateways: Vec<Value>,
    complete: bool,
}

async fn list_gateways(service: &ServiceClient) -> Result<GatewayList, Failure> {
    let (gateways, response) = service.fetch_list("gateways").await?;
    let complete = response.get("complete").and_then(Value::as_bool);
    Ok(GatewayList {
        gateways,
        complete: complete != Some(false),
    })
}

fn open_streams(gateways: &[Value], node: &str) -> u64 {
    let of_node = gateways
        .iter()
        .filter(|gateway| text(gateway, "node") == node);
    of_node.map(|gateway| number(gateway, "streams")).sum()
}

/// One row for each Envoy, by `node.id`.
fn envoy_rows(gateways: &[Value]) -> Vec<Vec<String>> {
    let mut envoys: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for gateway in gateways {
        envoys
            .entry(text(gateway, "node"))
            .or_default()
            .push(gateway);
    }
    let row = |(node, workers): (&str, Vec<&Value>)| {
        let any = |field: &str| {
            let mut flags = workers.iter().filter_map(|w| w.get(field)?.as_bool());
            flags.any(|flag| flag)
        };
        let state = match (any("refusing"), any("draining")) {
            (true, _) => "refusing",
            (false, true) => "draining",
            (false, false) => "-",
        };
        let streams: u64 = workers.iter().map(|worker| number(worker, "streams")).sum();
        let versions = workers.iter().map(|worker| text(worker, "version"));
        let versions: BTreeSet<&str> = versions.collect();
        let versions: Vec<&str> = versions.into_iter().collect();
        vec![
            node.to_owned(),
            state.to_owned(),
            streams.to_string(),
            workers.len().to_string(),
            versions.join(","),
        ]
    };
    envoys.into_iter().map(row).collect()
}

fn text<'a>(gateway: &'a Value, field: &str) -> &'a str {
    gateway.get(field).and_then(Value::as_str).unwrap_or("-")
}

fn number(gateway: &Value, field: &str) -> u64 {
    gateway.get(field).and_then(Value::as_u64).unwrap_or(0)
}
