//! Outages of the placement service in which Envoy fails the filter's calls synchronously, and services that accept a
//! stream and never respond. No worker may spin or stop responding, and the service is used again after the outage.
//! With one and two workers, with and without the list of capabilities.

use berth_harness::envoy::find_cluster;
use berth_harness::stack::Builder;
use berth_harness::{Call, Result, Stack, render, usage, wait};
use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const LIMIT: Duration = Duration::from_secs(20);
/// A worker that is not blocked responds within this time.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);
/// With this number of connections every worker is reached, because the kernel distributes them.
const CONNECTIONS: usize = 24;
/// CPU seconds per second of an Envoy that spins: at least its share of a machine that runs other tests, too.
const SPINNING_CPU: f64 = 0.25;
const BREAKER: &str = "circuit_breakers.placement.default.max_requests";
const STREAMS: &str = r#"berth_http_requests_total{route="/berth.v1.Gateway/Calls",status="200"} "#;

/// Number of workers, and whether the filter has all capabilities. The last two run only in `make soak`.
const VARIANTS: [(u32, bool); 4] = [(1, false), (2, true), (1, true), (2, false)];

fn variants() -> impl Iterator<Item = (u32, bool)> {
    let count = if berth_harness::is_soak() { 4 } else { 2 };
    VARIANTS.into_iter().take(count)
}

fn stack_builder((workers, all_capabilities): (u32, bool)) -> Builder {
    let settings = json!({"service": {"timeout": "1500ms"}});
    let builder = Stack::builder()
        .engines(1)
        .envoy_concurrency(workers)
        .filter_config(&settings);
    if all_capabilities {
        builder.all_capabilities()
    } else {
        builder
    }
}

/// A cookie without a session: each one causes a call of the service.
fn unknown_cookie() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::SeqCst);
    format!("berth={number:043}")
}

/// Requests that call the service, each on its own connection. Every response is accepted.
async fn send_burst(stack: &Stack, requests: usize) {
    let calls = (0..requests).map(|_| stack.send(Call::get("/api/x").cookie(&unknown_cookie())));
    join_all(calls).await;
}

/// Checks that every worker responds soon and that none spins.
async fn check_all_workers(stack: &mut Stack) -> Result<()> {
    let asked = (0..CONNECTIONS).map(|_| async {
        let started_at = Instant::now();
        let answer = tokio::time::timeout(LIMIT, stack.send(Call::get("/nowhere"))).await;
        let reply = answer.map_err(|_| "a worker does not respond")??;
        Result::<_>::Ok((reply.status, started_at.elapsed()))
    });
    for (status, time) in try_join_all(asked).await? {
        assert_eq!(status, 404);
        assert!(time < RESPONSE_TIMEOUT, "a worker answered after {time:?}");
    }
    let envoy = stack.envoy.process().pid();
    let idle = || async {
        let (before, started_at) = (usage::group_cpu(envoy), Instant::now());
        tokio::time::sleep(Duration::from_millis(500)).await;
        let used = (usage::group_cpu(envoy) - before) / started_at.elapsed().as_secs_f64();
        (used < SPINNING_CPU).then_some(())
    };
    wait::poll_until("Envoy is idle", LIMIT, idle).await
}

/// Waits until the service is reachable and a call stream is open.
async fn await_recovery(stack: &mut Stack) -> Result<()> {
    let service = stack.service()?.addr;
    let shared = &*stack;
    let back = || async {
        let cookie = shared.login_demo().await.ok()?;
        drop(shared.open_qix("/app/sales.qvf", &cookie).await.ok()?);
        let text = Call::get("/metrics").send(service).await.ok()?.text();
        let streams = text.lines().find_map(|line| line.strip_prefix(STREAMS))?;
        (streams != "0").then_some(())
    };
    wait::poll_until("the service is back, with a call stream", LIMIT, back).await?;
    check_all_workers(stack).await
}

/// Sends two bursts of calls during an outage, with some ticks in between.
async fn check_during_outage(stack: &mut Stack) -> Result<()> {
    for _ in 0..2 {
        send_burst(stack, 32).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    check_all_workers(stack).await
}

async fn set_breaker(stack: &Stack, max_requests: u32) -> Result<()> {
    let path = format!("/runtime_modify?{BREAKER}={max_requests}");
    let reply = Call::new("POST", &path).send(stack.envoy.admin).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn an_open_circuit_breaker_blocks_no_worker() -> Result<()> {
    for one in variants() {
        let mut stack = stack_builder(one)
            .edit_envoy(|config, _| {
                let layers = json!([{"name": "admin", "admin_layer": {}}]);
                render::merge(config, &json!({"layered_runtime": {"layers": layers}}));
                Ok(())
            })
            .start()
            .await?;
        set_breaker(&stack, 0).await?;
        check_during_outage(&mut stack).await?;
        // The circuit closes, a call stream is opened, and the circuit opens again.
        for _ in 0..5 {
            set_breaker(&stack, 8192).await?;
            send_burst(&stack, 8).await;
            set_breaker(&stack, 0).await?;
            send_burst(&stack, 8).await;
            stack.service()?.kill();
            send_burst(&stack, 8).await;
            stack.service()?.restart().await?;
        }
        check_during_outage(&mut stack).await?;
        set_breaker(&stack, 8192).await?;
        await_recovery(&mut stack).await?;
    }
    Ok(())
}

/// An outage from the start, caused by this change of Envoy's configuration.
async fn check_outage_from_start(
    edit: impl Fn(&mut Value, &Path) -> Result<()> + Copy + 'static,
) -> Result<()> {
    for one in variants() {
        let mut stack = stack_builder(one).edit_envoy(edit).start().await?;
        check_during_outage(&mut stack).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_cluster_without_endpoints_blocks_no_worker() -> Result<()> {
    check_outage_from_start(|config, _| {
        find_cluster(config, "placement")?["load_assignment"]["endpoints"] = json!([]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_name_that_does_not_resolve_blocks_no_worker() -> Result<()> {
    check_outage_from_start(|config, _| {
        let cluster = find_cluster(config, "placement")?;
        cluster["type"] = "STRICT_DNS".into();
        let at = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        cluster.pointer_mut(at).ok_or("no address")?["address"] = "berth.invalid".into();
        Ok(())
    })
    .await
}

/// Writes the cluster's endpoints to the file that Envoy's discovery reads.
fn write_endpoints(dir: &Path, version: usize, endpoints: &Value) -> Result<()> {
    let assignment = json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "placement",
        "endpoints": endpoints,
    });
    let new = dir.join("endpoints.json.new");
    render::write(
        &new,
        &json!({"version_info": version.to_string(), "resources": [assignment]}),
    )?;
    Ok(std::fs::rename(new, dir.join("endpoints.json"))?)
}

#[tokio::test]
async fn endpoints_that_disappear_and_return_block_no_worker() -> Result<()> {
    let rounds = if berth_harness::is_soak() { 20 } else { 5 };
    for one in variants() {
        let discovered = |config: &mut Value, dir: &Path| {
            let cluster = find_cluster(config, "placement")?;
            cluster["type"] = "EDS".into();
            let file = json!({"path_config_source": {"path": dir.join("endpoints.json")}});
            cluster["eds_cluster_config"] = json!({"eds_config": file});
            let endpoints = cluster["load_assignment"]["endpoints"].take();
            cluster
                .as_object_mut()
                .ok_or("no cluster")?
                .remove("load_assignment");
            render::write(&dir.join("full.json"), &endpoints)?;
            write_endpoints(dir, 0, &endpoints)
        };
        let mut stack = stack_builder(one).edit_envoy(discovered).start().await?;
        let full = render::read_yaml(&stack.dir.join("full.json"))?;
        await_recovery(&mut stack).await?;
        let dir = stack.dir.clone();
        let mut version = 0;
        for _ in 0..rounds {
            for endpoints in [&json!([]), &full] {
                version += 1;
                write_endpoints(&dir, version, endpoints)?;
                send_burst(&stack, 16).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        await_recovery(&mut stack).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_suspended_service_blocks_no_worker() -> Result<()> {
    let time = Duration::from_secs(if berth_harness::is_soak() { 15 } else { 4 });
    for one in variants() {
        let mut stack = stack_builder(one).start().await?;
        await_recovery(&mut stack).await?;
        stack.service()?.freeze();
        let ends = Instant::now() + time;
        while Instant::now() < ends {
            send_burst(&stack, 16).await;
        }
        check_all_workers(&mut stack).await?;
        stack.service()?.resume();
        await_recovery(&mut stack).await?;
    }
    Ok(())
}

/// Accepts connections on this port and never responds, until it is aborted.
async fn listen_silently(port: u16) -> Result<tokio::task::JoinHandle<()>> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    }))
}

#[tokio::test]
async fn a_service_that_accepts_connections_and_never_responds_blocks_no_worker() -> Result<()> {
    for one in variants() {
        let mut stack = stack_builder(one).start().await?;
        await_recovery(&mut stack).await?;
        stack.service()?.kill();
        let silent = listen_silently(stack.service()?.addr.port()).await?;
        for _ in 0..2 {
            send_burst(&stack, 16).await;
        }
        check_all_workers(&mut stack).await?;
        silent.abort();
        let _ = silent.await;
        stack.service()?.restart().await?;
        await_recovery(&mut stack).await?;
    }
    Ok(())
}
