//! What must not harm open sockets, and what must not let anybody in: traps of the filter, new configurations,
//! other plugins in the same Envoy.

#![allow(clippy::indexing_slicing, reason = "a test's own steps may fail it")]

use berth_harness::envoy::{self, Envoy, Wiring};
use berth_harness::stand_in::{self, Answer};
use berth_harness::token::Claims;
use berth_harness::{Call, Result, Stack, StandIn, WebSocket, paths, render, wait};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const COOKIE: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// The header that the test build traps on.
const TRAP: (&str, &str) = ("trap-for-tests", "1");
const LIMIT: Duration = Duration::from_secs(30);

/// Still open, and nothing gets lost.
async fn echoes(socket: &mut WebSocket) -> Result<()> {
    let said = Message::binary(b"still here".to_vec());
    socket.send(said.clone()).await?;
    match socket.next().await? {
        heard if heard == said => Ok(()),
        heard => Err(format!("not an echo: {heard:?}").into()),
    }
}

/// Attackers, one after the other, until told to stop; how each of their requests was answered.
async fn attack(
    to: std::net::SocketAddr,
    stop: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
) -> Result<()> {
    let forged = format!("Bearer {}", Claims::of("admin").sign()?);
    let headers = [
        ("authorization", forged.as_str()),
        ("x-qlik-session", "stolen"),
    ];
    while !stop.load(Ordering::SeqCst) {
        // A connection that breaks lets nobody in either.
        if let Ok(reply) = Call::get("/api/whoami").headers(&headers).send(to).await {
            // 401 by the filter, 500 or 503 by an Envoy without one.
            assert!(
                [401, 500, 503].contains(&reply.status),
                "{} {}",
                reply.status,
                reply.text()
            );
            assert_ne!(
                reply.json()["error"],
                "no valid token",
                "it reached the application"
            );
            refused.fetch_add(1, Ordering::SeqCst);
        }
        if let Ok(upgrade) = WebSocket::upgrade(to, "/app/sales.qvf", &headers).await {
            upgrade.refused()?;
            refused.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_trap_lets_nobody_in_and_is_over_within_two_seconds() -> Result<()> {
    const TRAPS: u64 = 4;
    let stack = Stack::builder()
        .engines(1)
        .module(paths::trapping_module()?)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let (stop, refused) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
    let attackers: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn(attack(
                stack.http(),
                Arc::clone(&stop),
                Arc::clone(&refused),
            ))
        })
        .collect();
    let mut served = 0;
    let mut worst = Duration::ZERO;
    for _ in 0..TRAPS {
        let mut open = stack.socket("/app/sales.qvf", &cookie).await?;
        echoes(&mut open).await?;
        let trapped = stack
            .send(Call::get("/api/whoami").cookie(&cookie).headers(&[TRAP]))
            .await;
        assert!(
            !trapped.is_ok_and(|reply| reply.status == 200),
            "a trap is no answer"
        );
        let began = Instant::now();
        let again = || async {
            let reply = stack
                .send(Call::get("/api/whoami").cookie(&cookie))
                .await
                .ok()?;
            (reply.status == 200).then_some(())
        };
        wait::until("a request after the trap", LIMIT, again).await?;
        worst = worst.max(began.elapsed());
        served += 1;
        // The trap took the worker's sockets along; what is sent on one reaches no engine.
        let end = async { while echoes(&mut open).await.is_ok() {} };
        tokio::time::timeout(LIMIT, end)
            .await
            .map_err(|_| "a socket outlived the trap")?;
        // Envoy makes a new VM at once, but not a second one right after.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for attacker in attackers {
        attacker.await??;
    }
    let refused = refused.load(Ordering::SeqCst);
    println!("{TRAPS} traps, served again after {worst:?} at the most, {refused} attacks refused");
    assert!(worst < Duration::from_secs(2), "{worst:?}");
    assert!(refused > 100, "only {refused} attacks");
    assert_eq!(
        stack.app.requests(),
        served,
        "only the user's requests arrived"
    );
    // Those that came through Envoy: the service connects too, to prepare.
    let upgrades = stack.engines[0].upgrades().await?;
    let through_envoy = upgrades
        .iter()
        .filter(|one| one.header("x-request-id").count() > 0);
    assert_eq!(
        through_envoy.count() as u64,
        TRAPS,
        "only the user's sockets arrived"
    );
    Ok(())
}

#[tokio::test]
async fn the_shipped_module_has_no_trap() -> Result<()> {
    let stand_in = StandIn::start().await?;
    let stack = Stack::builder()
        .engines(1)
        .stand_in(stand_in)
        .start()
        .await?;
    let mut socket = open(&stack, stack.http(), COOKIE, "ref-a").await?;
    let reply = stack
        .send(Call::get("/api/whoami").headers(&[TRAP]))
        .await?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    echoes(&mut socket).await
}

/// Opens a socket of this session through this address.
async fn open(
    stack: &Stack,
    to: std::net::SocketAddr,
    cookie: &str,
    session: &str,
) -> Result<WebSocket> {
    let mut answer = stand_in::placement(stack.engines[0].api)?;
    render::merge(
        &mut answer,
        &json!({"session_ref": session, "stream": session}),
    );
    stack.stand_in()?.answer(Answer::json(200, &answer));
    let upgrade = WebSocket::upgrade(to, "/app/sales.qvf", &[("cookie", cookie)]).await?;
    let mut socket = upgrade.open()?;
    socket.next().await?;
    Ok(socket)
}

fn revoked(session: &str) -> Value {
    json!({"type": "session-ended", "session_ref": session, "reason": "revoked"})
}

#[tokio::test]
async fn a_hundred_new_configurations_drop_no_socket() -> Result<()> {
    const SOCKETS: usize = 200;
    const PUSHES: u64 = 100;
    const RELOADS: &str = "extension_config_discovery.http_filter.berth.config_reload";
    let stand_in = StandIn::start().await?;
    let builder = Stack::builder()
        .engines(1)
        .stand_in(stand_in)
        .envoy_concurrency(2);
    let stack = builder.start().await?;
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        sockets.push(open(&stack, stack.http(), COOKIE, "ref-a").await?);
    }
    let before = stack
        .envoy
        .stat(RELOADS)
        .await?
        .ok_or("Envoy counts no reloads")?;
    for push in 1..=PUSHES {
        let patch = json!({"api_prefixes": [format!("/v{push}")]});
        envoy::push_filter(&stack.dir, &format!("push-{push}"), &patch)?;
        let taken = || async {
            let now = stack.envoy.stat(RELOADS).await.ok().flatten()?;
            (now >= before + push).then_some(())
        };
        wait::until("the push is taken", LIMIT, taken).await?;
        let talker = usize::try_from(push)? % SOCKETS;
        echoes(&mut sockets[talker]).await?;
    }
    // The last one is in force on every worker, and nobody has lost anything.
    let prefix = format!("/v{PUSHES}/x");
    let new = || async {
        let reply = stack
            .send(Call::get(&prefix).header("accept", "text/html"))
            .await
            .ok()?;
        (reply.status == 404).then_some(())
    };
    wait::until("the last configuration", LIMIT, new).await?;
    for socket in &mut sockets {
        echoes(socket).await?;
    }
    assert_eq!(stack.engines[0].stats().await?.sockets, SOCKETS);
    // They are still looked after: by the configuration that they were opened with.
    stack.stand_in()?.feed().tell(revoked("ref-a"));
    for socket in &mut sockets {
        socket.listen_until_closed().await?;
    }
    Ok(())
}

/// A second listener beside the first: another VM, another cookie, the build that traps.
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
    Ok(())
}

#[tokio::test]
async fn plugins_with_vms_of_their_own_do_not_disturb_each_other() -> Result<()> {
    let stand_in = StandIn::start().await?;
    let mut stack = Stack::builder()
        .engines(1)
        .stand_in(stand_in)
        .start()
        .await?;
    let wiring = Wiring {
        http: 0,
        admin: 0,
        service: stack.stand_in()?.addr.port(),
        app: stack.app.addr.port(),
        certificate: None,
        module: None,
    };
    let mut config = envoy::render(&wiring, &json!({}), &stack.dir)?;
    with_second_listener(&mut config, &stack.dir)?;
    stack.envoy = Envoy::start("two", &config, 1, &stack.dir).await?;
    let first = stack.envoy.listener("http").await?;
    let second = stack.envoy.listener("second").await?;
    let other = COOKIE.replace("berth=", "other=");

    // Each believes its own cookie only.
    for (to, cookie) in [(first, other.as_str()), (second, COOKIE)] {
        let headers = [("cookie", cookie)];
        let refused = WebSocket::upgrade(to, "/app/sales.qvf", &headers)
            .await?
            .refused()?;
        assert_eq!(refused.reason(), "no-session");
    }
    let mut here = open(&stack, first, COOKIE, "ref-here").await?;
    let mut here_too = open(&stack, first, COOKIE, "ref-both").await?;
    let mut there = open(&stack, second, &other, "ref-there").await?;
    let mut there_too = open(&stack, second, &other, "ref-both").await?;
    let feed = stack.stand_in()?.feed();
    let opened = || async { (feed.reported("opened").len() == 4).then_some(()) };
    wait::until("all are reported", LIMIT, opened).await?;
    let names: std::collections::BTreeSet<String> =
        feed.reports().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 2, "each VM is a gateway of its own");

    // An event for both reaches both, and closes only what it means.
    feed.tell(revoked("ref-both"));
    assert_eq!(here_too.talk_until_closed(LIMIT).await?, Some(4403));
    assert_eq!(there_too.talk_until_closed(LIMIT).await?, Some(4403));
    echoes(&mut here).await?;
    echoes(&mut there).await?;

    // The death of one VM is nothing to the other.
    let trapped = Call::get("/api/whoami").headers(&[TRAP]).send(second).await;
    assert!(!trapped.is_ok_and(|reply| reply.status < 500));
    let gone = async { while echoes(&mut there).await.is_ok() {} };
    tokio::time::timeout(LIMIT, gone)
        .await
        .map_err(|_| "a socket outlived its VM")?;
    echoes(&mut here).await?;
    let again = || async { open(&stack, second, &other, "ref-again").await.ok() };
    let mut again = wait::until("the second listener serves again", LIMIT, again).await?;
    echoes(&mut again).await?;
    echoes(&mut here).await?;
    feed.tell(revoked("ref-here"));
    assert_eq!(here.talk_until_closed(LIMIT).await?, Some(4403));
    echoes(&mut again).await
}
