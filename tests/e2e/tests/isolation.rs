//! Events that must not affect open sockets: new configurations, other plugins in the same Envoy, and their traps.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::envoy::{self, Envoy, Wiring};
use berth_harness::fake_service::{self, FakeResponse};
use berth_harness::{Call, FakeService, Result, Stack, WebSocket, paths, render, wait};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const COOKIE: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// The header that makes the test build trap.
const TRAP: (&str, &str) = ("trap-for-tests", "1");
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_shipped_module_has_no_trap() -> Result<()> {
    let fake_service = FakeService::start().await?;
    let stack = Stack::builder()
        .engines(1)
        .fake_service(fake_service)
        .start()
        .await?;
    let mut socket = open(&stack, stack.address(), COOKIE, "ref-a").await?;
    let reply = stack
        .send(Call::get("/api/whoami").headers(&[TRAP]))
        .await?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    socket.check_echo().await
}

/// A pool's name, its cluster in Envoy, and the index of its one engine.
type Pool = (&'static str, &'static str, usize);

const FIRST: Pool = ("first", "engines", 0);
const SECOND: Pool = ("second", "engines-too", 1);

/// Opens a socket of this session through this address, on the first pool.
async fn open(
    stack: &Stack,
    to: std::net::SocketAddr,
    cookie: &str,
    session: &str,
) -> Result<WebSocket> {
    open_in_pool(FIRST, stack, to, cookie, session).await
}

async fn open_in_pool(
    (pool, cluster, engine): Pool,
    stack: &Stack,
    to: std::net::SocketAddr,
    cookie: &str,
    session: &str,
) -> Result<WebSocket> {
    let mut answer = fake_service::placement_body(stack.engines[engine].api)?;
    let own = json!({"session_ref": session, "stream": session, "pool": pool, "cluster": cluster});
    render::merge(&mut answer, &own);
    stack
        .fake_service()?
        .set_response(FakeResponse::json(200, &answer));
    let upgrade = WebSocket::upgrade(to, "/app/sales.qvf", &[("cookie", cookie)]).await?;
    let mut socket = upgrade.into_socket()?;
    socket.next_message().await?;
    Ok(socket)
}

fn revocation_event(session: &str) -> Value {
    json!({"type": "session-ended", "session_ref": session, "reason": "revoked"})
}

#[tokio::test]
async fn a_hundred_new_configurations_close_no_socket() -> Result<()> {
    const SOCKETS: usize = 200;
    const PUSHES: u64 = 100;
    const RELOADS: &str = "extension_config_discovery.http_filter.berth.config_reload";
    let fake_service = FakeService::start().await?;
    let builder = Stack::builder()
        .engines(1)
        .fake_service(fake_service)
        .envoy_concurrency(2);
    let stack = builder.start().await?;
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        sockets.push(open(&stack, stack.address(), COOKIE, "ref-a").await?);
    }
    let before = stack
        .envoy
        .stat(RELOADS)
        .await?
        .ok_or("Envoy counts no reloads")?;
    for push in 1..=PUSHES {
        let patch = json!({"api_prefixes": [format!("/v{push}")]});
        envoy::push_filter_config(&stack.dir, &format!("push-{push}"), &patch)?;
        let taken = || async {
            let now = stack.envoy.stat(RELOADS).await.ok().flatten()?;
            (now >= before + push).then_some(())
        };
        wait::poll_until("the push is taken", LIMIT, taken).await?;
        let talker = usize::try_from(push)? % SOCKETS;
        sockets[talker].check_echo().await?;
    }
    // The last configuration is active on every worker, and every socket is still open.
    let prefix = format!("/v{PUSHES}/x");
    let new = || async {
        let reply = stack
            .send(Call::get(&prefix).header("accept", "text/html"))
            .await
            .ok()?;
        (reply.status == 404).then_some(())
    };
    wait::poll_until("the last configuration", LIMIT, new).await?;
    for socket in &mut sockets {
        socket.check_echo().await?;
    }
    assert_eq!(stack.engines[0].stats().await?.sockets, SOCKETS);
    // The configuration that opened the sockets still controls them.
    stack
        .fake_service()?
        .event_log()
        .push(revocation_event("ref-a"));
    for socket in &mut sockets {
        socket.receive_until_closed().await?;
    }
    Ok(())
}

/// Adds a second listener with another VM, another cookie, the build that traps, and its own cluster of engines.
fn with_second_listener(config: &mut Value, dir: &std::path::Path) -> Result<()> {
    let mut resource = render::read_yaml(&dir.join("filter.json"))?;
    let mut plugin = resource
        .pointer_mut("/resources/0/typed_config")
        .ok_or("no filter")?
        .take();
    let module = paths::trapping_module()?;
    let patch = json!({"config": {
        "name": "other",
        "vm_config": {"vm_id": "other", "code": {"local": {"filename": module}}},
        "configuration": {"value": {"cookie": "other"}},
    }});
    render::merge(&mut plugin, &patch);
    let listeners = config
        .pointer_mut("/static_resources/listeners")
        .and_then(Value::as_array_mut);
    let listeners = listeners.ok_or("no listeners")?;
    let mut second = listeners.first().ok_or("no listener")?.clone();
    second["name"] = json!("second");
    let manager = "/filter_chains/0/filters/0/typed_config";
    let manager = second
        .pointer_mut(manager)
        .ok_or("no HTTP connection manager")?;
    manager["stat_prefix"] = json!("second");
    manager["http_filters"][0] = json!({"name": "berth", "typed_config": plugin});
    listeners.push(second);
    let clusters = config.pointer_mut("/static_resources/clusters");
    let clusters = clusters
        .and_then(Value::as_array_mut)
        .ok_or("no clusters")?;
    let engines = clusters.iter().find(|one| one["name"] == FIRST.1);
    let mut engines = engines.ok_or("no cluster of engines")?.clone();
    engines["name"] = json!(SECOND.1);
    clusters.push(engines);
    Ok(())
}

#[tokio::test]
async fn plugins_with_separate_vms_and_pools_do_not_affect_each_other() -> Result<()> {
    let fake_service = FakeService::start().await?;
    let mut stack = Stack::builder()
        .engines(2)
        .fake_service(fake_service)
        .start()
        .await?;
    let wiring = Wiring {
        http: 0,
        admin: 0,
        service: stack.fake_service()?.addr.port(),
        app: stack.app.addr.port(),
        certificate: None,
        module: None,
        all_capabilities: false,
        service_config: None,
    };
    let mut config = envoy::render(&wiring, &json!({}), &stack.dir)?;
    with_second_listener(&mut config, &stack.dir)?;
    stack.envoy = Envoy::start("two", &config, 1, &stack.dir).await?;
    let first = stack.envoy.listener_address("http").await?;
    let second = stack.envoy.listener_address("second").await?;
    let other = COOKIE.replace("berth=", "other=");

    // Each accepts its own cookie only.
    for (to, cookie) in [(first, other.as_str()), (second, COOKIE)] {
        let headers = [("cookie", cookie)];
        let refused = WebSocket::upgrade(to, "/app/sales.qvf", &headers)
            .await?
            .into_rejection()?;
        assert_eq!(refused.reason(), "no-session");
    }
    let mut here = open(&stack, first, COOKIE, "ref-here").await?;
    let mut here_too = open(&stack, first, COOKIE, "ref-both").await?;
    let mut there = open_in_pool(SECOND, &stack, second, &other, "ref-there").await?;
    let mut there_too = open_in_pool(SECOND, &stack, second, &other, "ref-both").await?;
    for engine in &stack.engines {
        assert_eq!(engine.stats().await?.sockets, 2, "{}", engine.name);
    }
    let event_log = stack.fake_service()?.event_log();
    let opened = || async { (event_log.reported_items("opened").len() == 4).then_some(()) };
    wait::poll_until("all are reported", LIMIT, opened).await?;
    let mut reported = BTreeSet::new();
    for (gateway, report) in event_log.reports() {
        let opened = report["opened"].as_array().into_iter().flatten();
        reported.extend(opened.map(|stream| (gateway.clone(), stream["pool"].to_string())));
    }
    let gateways: BTreeSet<_> = reported.iter().map(|(gateway, _)| gateway).collect();
    let pools: BTreeSet<_> = reported.iter().map(|(_, pool)| pool).collect();
    let counts = (gateways.len(), pools.len(), reported.len());
    assert_eq!(
        counts,
        (2, 2, 2),
        "each VM is a gateway with its own pool: {reported:?}"
    );

    // An event for both reaches both, and closes only the sockets of its session.
    event_log.push(revocation_event("ref-both"));
    assert_eq!(here_too.send_until_closed(LIMIT).await?, Some(4403));
    assert_eq!(there_too.send_until_closed(LIMIT).await?, Some(4403));
    here.check_echo().await?;
    there.check_echo().await?;

    // A trap in one VM does not affect the other.
    let trapped = Call::get("/api/whoami").headers(&[TRAP]).send(second).await;
    assert!(!trapped.is_ok_and(|reply| reply.status < 500));
    let gone = async { while there.check_echo().await.is_ok() {} };
    tokio::time::timeout(LIMIT, gone)
        .await
        .map_err(|_| "a socket outlived its VM")?;
    here.check_echo().await?;
    let again = || async {
        let opened = open_in_pool(SECOND, &stack, second, &other, "ref-again").await;
        opened.ok()
    };
    let mut again = wait::poll_until("the second listener serves again", LIMIT, again).await?;
    again.check_echo().await?;
    here.check_echo().await?;
    event_log.push(revocation_event("ref-here"));
    assert_eq!(here.send_until_closed(LIMIT).await?, Some(4403));
    again.check_echo().await
}
