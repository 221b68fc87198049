//! `berth gateways`: lists Envoys and drains one before it stops, through the running service.

use super::service_client::{ServiceArgs, ServiceClient};
use super::{Failure, print};
use berth_placement::core::http_client;
use clap::Subcommand;
use reqwest::Method;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How often the open WebSockets are counted while a command waits for a drain.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// A drain is known to all replicas, and their counts to each other, after this time.
const SETTLE_TIME: Duration = Duration::from_secs(3);
/// Timeout of the request to Envoy's admin port.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits beyond the time of the drain: for WebSockets that were being opened when it began.
const GRACE_TIME: Duration = Duration::from_secs(15);

#[derive(Subcommand)]
pub(super) enum GatewaysCommand {
    /// List the Envoys that report, one per line, separated by tabs: node.id, `draining` or `refusing` or `-`, open
    /// WebSockets, workers, versions of the filter.
    Ls {
        /// Print JSON, with each worker.
        #[arg(long)]
        json: bool,
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
        GatewaysCommand::Ls { json, service } => {
            let listed = list_gateways(&service.build_client()?).await?;
            if json {
                return print(&serde_json::to_string_pretty(&listed.gateways)?);
            }
            for line in envoy_lines(&listed.gateways) {
                print(&line)?;
            }
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
    if number(&drained, "gateways") == 0 {
        print(&format!("{node} is drained; no worker of it reports"))?;
    } else {
        let open = number(&drained, "streams");
        print(&format!("{node} is drained; open WebSockets: {open}"))?;
    }
    if !wait {
        return Ok(());
    }
    let seconds = drained.get("drained_over_s").and_then(Value::as_f64);
    let over = Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default();
    wait_until_closed(&service, &node, over).await
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

/// Waits until all replicas report that the Envoy has no WebSocket. Errors of the service do not end the wait, since a
/// replica may restart meanwhile.
async fn wait_until_closed(
    service: &ServiceClient,
    node: &str,
    over: Duration,
) -> Result<(), Failure> {
    let started_at = Instant::now();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let late = started_at.elapsed() > over + GRACE_TIME;
        match list_gateways(service).await {
            Ok(listed) => {
                let open = open_streams(&listed.gateways, node);
                if open == 0 && listed.complete && started_at.elapsed() >= SETTLE_TIME {
                    return print(&format!("{node} has no open WebSockets"));
                }
                if late {
                    return Err(Failure(format!("{node} still has {open} open WebSockets")));
                }
            }
            Err(failure) if late => return Err(failure),
            Err(_) => {}
        }
    }
}

fn open_streams(gateways: &[Value], node: &str) -> u64 {
    let of_node = gateways
        .iter()
        .filter(|gateway| text(gateway, "node") == node);
    of_node.map(|gateway| number(gateway, "streams")).sum()
}

/// One line for each Envoy, by `node.id`.
fn envoy_lines(gateways: &[Value]) -> Vec<String> {
    let mut envoys: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for gateway in gateways {
        envoys
            .entry(text(gateway, "node"))
            .or_default()
            .push(gateway);
    }
    let line = |(node, workers): (&str, Vec<&Value>)| {
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
        let (count, versions) = (workers.len(), versions.join(","));
        format!("{node}\t{state}\t{streams}\t{count}\t{versions}")
    };
    envoys.into_iter().map(line).collect()
}

fn text<'a>(gateway: &'a Value, field: &str) -> &'a str {
    gateway.get(field).and_then(Value::as_str).unwrap_or("-")
}

fn number(gateway: &Value, field: &str) -> u64 {
    gateway.get(field).and_then(Value::as_u64).unwrap_or(0)
}
