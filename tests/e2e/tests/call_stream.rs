//! The call stream between the real Envoy and the service: calls use it, and clients do not notice when it is lost.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::envoy::push_filter_config;
use berth_harness::render::Replacements;
use berth_harness::{Call, Result, Stack, wait};
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);
const STREAMS: &str = r#"berth_http_requests_total{route="/berth.v1.Gateway/Calls",status="200"} "#;
const PLACEMENTS: &str = r#"berth_http_requests_total{route="/v1/placements",status="200"} "#;
/// Number of requests of every kind that Envoy has made to the service.
const REQUESTS: &str = "cluster.placement.upstream_rq_total";

/// The value of a metric of the service; 0 when it is missing.
async fn metric(stack: &mut Stack, name: &str) -> Result<u64> {
    fetch_metric(stack.service()?.addr, name).await
}

async fn fetch_metric(service: SocketAddr, name: &str) -> Result<u64> {
    let text = Call::get("/metrics").send(service).await?.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map_or(Ok(0), str::parse)?)
}

/// Waits until the gateway of this stack has opened its `nth` call stream, by requests with this cookie.
async fn await_stream(stack: &mut Stack, cookie: &str, nth: u64) -> Result<()> {
    for _ in 0..200 {
        drop(stack.open_qix("/app/sales.qvf", cookie).await?);
        if metric(stack, STREAMS).await? >= nth {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("no call stream was opened".into())
}

async fn start_stack(filter: &serde_json::Value) -> Result<(Stack, String)> {
    let builder = Stack::builder().engines(1).filter_config(filter);
    let mut stack = builder.start().await?;
    let cookie = stack.login_demo().await?;
    await_stream(&mut stack, &cookie, 1).await?;
    Ok((stack, cookie))
}

#[tokio::test]
async fn placements_are_messages_on_one_stream() -> Result<()> {
    let (mut stack, cookie) = start_stack(&json!({})).await?;
    let placed = metric(&mut stack, PLACEMENTS).await?;
    let requests = stack.envoy.stat(REQUESTS).await?.unwrap_or_default();
    for _ in 0..10 {
        let sockets = (0..10).map(|_| stack.open_qix("/app/sales.qvf", &cookie));
        drop(try_join_all(sockets).await?);
    }
    assert_eq!(metric(&mut stack, PLACEMENTS).await?, placed + 100);
    // Reports and polls are still requests: a few per second.
    let requests = stack.envoy.stat(REQUESTS).await?.unwrap_or_default() - requests;
    assert!(requests < 70, "{requests} requests for 100 placements");
    assert_eq!(metric(&mut stack, STREAMS).await?, 1);
    Ok(())
}

#[tokio::test]
async fn tokens_are_messages_on_the_same_stream() -> Result<()> {
    let (mut stack, _) = start_stack(&json!({"cache": {"entries": 0}})).await?;
    let cookie = stack.login_demo().await?;
    let requests = stack.envoy.stat(REQUESTS).await?.unwrap_or_default();
    for _ in 0..100 {
        let reply = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
        assert_eq!(reply.json()["account"], "demo");
    }
    let requests = stack.envoy.stat(REQUESTS).await?.unwrap_or_default() - requests;
    assert!(requests < 70, "{requests} requests for 100 tokens");
    assert_eq!(metric(&mut stack, STREAMS).await?, 1);
    Ok(())
}

#[tokio::test]
async fn pending_requests_fail_at_once_when_the_service_dies_and_the_next_stream_opens_by_itself()
-> Result<()> {
    let (mut stack, cookie) = start_stack(&json!({})).await?;
    let mut service = stack.service.take().ok_or("no service")?;
    stack.engines[0]
        .faults(json!({"slow_open_ms": 60_000}))
        .await?;
    let headers = [("cookie", cookie.as_str())];
    let before = stack.engines[0].upgrades().await?.len();
    let waiting = async {
        let all = (0..5).map(|_| stack.upgrade("/app/sales.qvf", &headers));
        join_all(all).await
    };
    let killed = async {
        let arrived = || async {
            let upgrades = stack.engines[0].upgrades().await.ok()?.len();
            (upgrades >= before + 5).then_some(())
        };
        wait::poll_until("an upgrade at the engine", LIMIT, arrived).await?;
        service.kill();
        Result::<()>::Ok(())
    };
    let (answers, killed) = tokio::join!(tokio::time::timeout(LIMIT, waiting), killed);
    killed?;
    for answer in answers? {
        let reply = answer?.into_rejection()?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (503, "service-unreachable")
        );
    }
    stack.engines[0].heal().await?;
    service.restart().await?;
    stack.service = Some(service);
    let back = || async { stack.open_qix("/app/sales.qvf", &cookie).await.ok() };
    drop(wait::poll_until("the service to be found again", LIMIT, back).await?);
    await_stream(&mut stack, &cookie, 1).await
}

/// Kills and restarts the service, and waits for the next call stream.
async fn restart_service(stack: &mut Stack, cookie: &str) -> Result<()> {
    let service = stack.service()?;
    service.kill();
    service.restart().await?;
    let back = || async { stack.open_qix("/app/sales.qvf", cookie).await.ok() };
    drop(wait::poll_until("the service to be found again", LIMIT, back).await?);
    await_stream(stack, cookie, 1).await
}

/// Envoy keeps a closed stream until the filter releases it. Without that, the end of its configuration would reset a
/// stream that is already freed.
#[tokio::test]
async fn closed_streams_do_no_harm_when_their_configuration_is_removed() -> Result<()> {
    let (mut stack, cookie) = start_stack(&json!({})).await?;
    for (round, timeout_ms) in [5_000, 6_000, 7_000].into_iter().enumerate() {
        restart_service(&mut stack, &cookie).await?;
        let settings = json!({"service": {"timeout": format!("{timeout_ms}ms")}});
        push_filter_config(&stack.dir, &format!("round-{round}"), &settings)?;
        restart_service(&mut stack, &cookie).await?;
    }
    // It is still the same Envoy: with a new process, nothing would listen on this port.
    drop(stack.open_qix("/app/sales.qvf", &cookie).await?);
    Ok(())
}

#[tokio::test]
async fn a_suspended_service_causes_timeouts_and_recovers() -> Result<()> {
    let (mut stack, cookie) = start_stack(&json!({"service": {"timeout": "1500ms"}})).await?;
    stack.service()?.freeze();
    let headers = [("cookie", cookie.as_str())];
    let refused = stack
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_rejection()?;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (504, "service-timeout")
    );
    stack.service()?.resume();
    let back = || async { stack.open_qix("/app/sales.qvf", &cookie).await.ok() };
    drop(wait::poll_until("the service answers again", LIMIT, back).await?);
    await_stream(&mut stack, &cookie, 2).await
}

#[tokio::test]
async fn a_service_that_shuts_down_answers_pending_requests() -> Result<()> {
    let (mut stack, cookie) = start_stack(&json!({})).await?;
    let mut service = stack.service.take().ok_or("no service")?;
    let engine = &stack.engines[0];
    engine.faults(json!({"slow_open_ms": 400})).await?;
    let before = engine.upgrades().await?.len();
    let ended = async {
        let arrived = || async { (engine.upgrades().await.ok()?.len() > before).then_some(()) };
        wait::poll_until("an upgrade at the engine", LIMIT, arrived).await?;
        let process = service.process().ok_or("no process")?;
        Result::<bool>::Ok(process.terminate(LIMIT))
    };
    let (socket, obeyed) = tokio::join!(stack.open_qix("/app/sales.qvf", &cookie), ended);
    assert!(obeyed?, "a call stream kept the service from exiting");
    drop(socket?);
    Ok(())
}

/// Number of call streams and of gateways of each replica.
async fn streams_and_gateways(stack: &Stack) -> Result<Vec<(u64, u64)>> {
    let mut all = Vec::new();
    for service in stack.service.iter().chain(&stack.replicas) {
        let streams = fetch_metric(service.addr, STREAMS).await?;
        all.push((
            streams,
            fetch_metric(service.addr, "berth_gateways ").await?,
        ));
    }
    Ok(all)
}

/// Envoy sends the cluster's name as `:authority` of a stream that has none, and a server rejects a name like this
/// one.
#[tokio::test]
async fn a_cluster_may_have_any_name_and_each_stream_uses_the_replica_of_its_workers_reports()
-> Result<()> {
    const NAME: &str = "outbound|9455||berth.berth.svc.cluster.local";
    const WORKERS: u32 = 8;
    let stack = Stack::builder()
        .engines(1)
        .services(3)
        .envoy_concurrency(WORKERS)
        .filter_config(&json!({"service": {"cluster": NAME}}))
        .edit_envoy(|config, _| {
            let renamed = Replacements::default().text("placement", Path::new(NAME));
            renamed.apply(config);
            Ok(())
        })
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let all_stream = || async {
        let sockets = (0..16).map(|_| stack.open_qix("/app/sales.qvf", &cookie));
        drop(join_all(sockets).await);
        let replicas = streams_and_gateways(&stack).await.ok()?;
        let streams: u64 = replicas.iter().map(|(streams, _)| streams).sum();
        (streams >= u64::from(WORKERS)).then_some(replicas)
    };
    let replicas = wait::poll_until("every worker has a stream", 3 * LIMIT, all_stream).await?;
    for (streams, gateways) in &replicas {
        assert_eq!(streams, gateways, "another replica has it: {replicas:?}");
    }
    Ok(())
}
