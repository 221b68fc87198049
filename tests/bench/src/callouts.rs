//! The cost of calling the service for a plain HTTP request. Compares, in turn and with one upstream: Envoy without a
//! call, Envoy's Lua filter with one call, Envoy's external authorization, and Berth with and without its token
//! cache.

mod client;
mod gateways;

use crate::{
    cost_targets::{Bound, CostTarget, cost_target},
    load::{LoopCounters, Sample},
    options::Options,
    plan::median,
    processes::Cpu,
};
use berth_harness::{
    Call, Result,
    app::App,
    envoy::Envoy,
    service::{self, Service},
    usage::{group_cpu, own_cpu},
};
use client::Client;
use serde::Serialize;
use serde_json::json;
use std::{
    fmt, fs,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Numbers of concurrent connections. Each connection sends one request after the other.
const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// The gateway between client and upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Gateway {
    /// Envoy as configured for Berth, without Berth's filter.
    None,
    /// With a Lua filter that makes one call per request to fetch the token.
    Lua,
    /// With external authorization over HTTP, which only checks that the client is logged in.
    ExtAuthz,
    /// With Berth.
    Cached,
    /// With Berth and its token cache disabled: one call per request.
    Uncached,
}

impl Gateway {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Lua,
        Self::ExtAuthz,
        Self::Cached,
        Self::Uncached,
    ];
}

impl fmt::Display for Gateway {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::None => "Envoy alone",
            Self::Lua => "Envoy, Lua httpCall",
            Self::ExtAuthz => "Envoy, ext_authz",
            Self::Cached => "Berth, cached",
            Self::Uncached => "Berth, a call each",
        })
    }
}

/// One gateway at one number of connections: medians over the rounds. Ratios are relative to external authorization.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CalloutRow {
    pub(crate) connections: usize,
    pub(crate) gateway: Gateway,
    pub(crate) per_second: f64,
    pub(crate) rate_ratio: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU of Envoy per request.
    pub(crate) envoy_cpu_us: f64,
    pub(crate) cpu_ratio: f64,
    /// CPU of the service per request.
    pub(crate) service_cpu_us: f64,
    pub(crate) failed: usize,
}

struct Measurement {
    round: u32,
    connections: usize,
    gateway: Gateway,
    sample: Sample,
}

/// Runs all rounds.
pub(crate) async fn measure(options: &Options) -> Result<Vec<CalloutRow>> {
    let all = berth_harness::paths::target_dir().join("bench");
    fs::create_dir_all(&all)?;
    let dir = tempfile::Builder::new()
        .prefix("callouts-")
        .tempdir_in(all)?;
    let app = App::start(0).await?;
    let config = service::build_config(&[], dir.path(), &json!({}), &json!({}))?;
    let mut service = Service::start(&config, 0, dir.path()).await?;
    let mut envoys = Vec::new();
    for gateway in Gateway::ALL {
        let (service, app) = (service.addr.port(), app.addr.port());
        let config = gateways::config(gateway, service, app, dir.path())?;
        let name = format!(
            "envoy-{}",
            serde_json::to_value(gateway)?.as_str().unwrap_or_default()
        );
        let workers = options.envoy_workers;
        envoys.push((
            gateway,
            Envoy::start(&name, &config, workers, dir.path()).await?,
        ));
    }
    let cookie = login(service.addr).await?;
    let mut measured = Vec::new();
    for round in 0..options.rounds() {
        for connections in CONNECTIONS {
            // Each round begins with another gateway.
            envoys.rotate_left(1);
            let mut line = Vec::new();
            for (gateway, envoy) in &mut envoys {
                let client = Client::new(envoy.http, &cookie);
                run_connections(&client, connections, options.duration() / 10).await;
                let mut cpu = || Cpu {
                    envoy: group_cpu(envoy.process().pid()),
                    service: service
                        .process()
                        .map_or(0.0, |process| group_cpu(process.pid())),
                    engines: 0.0,
                    client: own_cpu(),
                };
                let (before, started_at) = (cpu(), Instant::now());
                let counters = run_connections(&client, connections, options.duration()).await;
                let sample = counters.sample(started_at.elapsed().as_secs_f64(), cpu() - before);
                let sample = sample.ok_or_else(|| format!("{gateway}: every request failed"))?;
                line.push(format!("{gateway} {:.0}/s", sample.per_second));
                measured.push(Measurement {
                    round,
                    connections,
                    gateway: *gateway,
                    sample,
                });
            }
            let (nth, rounds) = (round + 1, options.rounds());
            eprintln!(
                "bench: round {nth} of {rounds}, requests, {connections} at once: {}",
                line.join(", ")
            );
        }
    }
    let rows = CONNECTIONS.into_iter().flat_map(|connections| {
        let measured = &measured;
        Gateway::ALL.map(move |gateway| median_row(measured, connections, gateway))
    });
    Ok(rows.collect())
}

async fn login(service: SocketAddr) -> Result<String> {
    let form = [("username", "demo"), ("password", "demo-password")];
    let reply = Call::post_form("/login", &form).send(service).await?;
    let cookie = reply.set_cookie("berth");
    cookie.ok_or_else(|| format!("login: {} {}", reply.status, reply.text()).into())
}

async fn run_connections(client: &Client, connections: usize, duration: Duration) -> LoopCounters {
    let end = Instant::now() + duration;
    let mut loops = JoinSet::new();
    for _ in 0..connections {
        loops.spawn(client.clone().run_until(end));
    }
    LoopCounters::join(loops).await
}

fn median_row(all: &[Measurement], connections: usize, gateway: Gateway) -> CalloutRow {
    let samples_of = |gateway| {
        all.iter()
            .filter(move |sample| sample.connections == connections && sample.gateway == gateway)
    };
    let median_of = |field: &dyn Fn(&Sample) -> f64| {
        median(
            samples_of(gateway)
                .map(|sample| field(&sample.sample))
                .collect(),
        )
    };
    // The ratio is taken within a round, so that a slow minute of the machine affects both values.
    let ratio = |field: &dyn Fn(&Sample) -> f64| {
        let pairs = samples_of(gateway).filter_map(|sample| {
            let base = samples_of(Gateway::ExtAuthz).find(|base| base.round == sample.round)?;
            Some(field(&sample.sample) / field(&base.sample))
        });
        median(pairs.collect())
    };
    CalloutRow {
        connections,
        gateway,
        per_second: median_of(&|sample| sample.per_second),
        rate_ratio: ratio(&|sample| sample.per_second),
        p50_us: median_of(&|sample| sample.p50_us),
        p99_us: median_of(&|sample| sample.p99_us),
        envoy_cpu_us: median_of(&|sample| sample.cpu_us.envoy),
        cpu_ratio: ratio(&|sample| sample.cpu_us.envoy),
        service_cpu_us: median_of(&|sample| sample.cpu_us.service),
        failed: samples_of(gateway).map(|sample| sample.sample.failed).sum(),
    }
}

/// Compares the rows with the cost targets, which are relative to external authorization.
pub(crate) fn evaluate(rows: &[CalloutRow]) -> Vec<CostTarget> {
    let find = |connections, gateway| {
        let mut rows = rows.iter();
        rows.find(move |row| row.connections == connections && row.gateway == gateway)
    };
    let mut aims = Vec::new();
    for connections in CONNECTIONS {
        let cached = find(connections, Gateway::Cached);
        let uncached = find(connections, Gateway::Uncached);
        let row_name = |metric: &str| format!("{metric} / ext_authz, {connections}");
        aims.extend([
            cost_target(
                &row_name("cached: rate"),
                Bound::AtLeast(1.5),
                cached.map(|row| row.rate_ratio),
            ),
            cost_target(
                &row_name("cached: Envoy CPU"),
                Bound::AtMost(0.6),
                cached.map(|row| row.cpu_ratio),
            ),
            cost_target(
                &row_name("a call: Envoy CPU"),
                Bound::AtMost(1.0),
                uncached.map(|row| row.cpu_ratio),
            ),
        ]);
    }
    aims
}
