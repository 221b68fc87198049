//! A placement service that is down, slow or returns invalid responses: a clear rejection, and never a bypass.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::client::upgrade_head;
use berth_harness::fake_service::{FakeResponse, placement_body};
use berth_harness::token::Claims;
use berth_harness::{Call, FakeService, Result, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const COOKIE: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn stack_with_fake_service(timeout_ms: u64) -> Result<Stack> {
    let filter = json!({"service": {"timeout": format!("{timeout_ms}ms")}});
    let stand_in = FakeService::start().await?;
    Stack::builder()
        .engines(1)
        .filter_config(&filter)
        .fake_service(stand_in)
        .start()
        .await
}

/// Checks that both kinds of route reject with this reason, and that nothing reaches an upstream.
async fn check_rejection(stack: &Stack, cookie: &str, status: u16, reason: &str) -> Result<()> {
    let reply = stack
        .upgrade("/app/sales.qvf", &[("cookie", cookie)])
        .await?
        .into_rejection()?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (status, reason),
        "{}",
        reply.text()
    );
    let reply = stack.send(Call::get("/api/whoami").cookie(cookie)).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (status, reason),
        "{}",
        reply.text()
    );
    assert_eq!(stack.app.requests(), 0);
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn requests_are_rejected_while_the_service_is_down_and_accepted_after_it() -> Result<()> {
    let mut stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    stack.service()?.kill();
    check_rejection(&stack, &cookie, 503, "service-unreachable").await?;
    stack.service()?.restart().await?;
    // The session has survived. Envoy reaches the service with its next connection.
    let stack = &stack;
    let back = || async { stack.open_qix("/app/sales.qvf", &cookie).await.ok() };
    wait::poll_until(
        "the service to be found again",
        Duration::from_secs(10),
        back,
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn a_suspended_service_causes_timeouts() -> Result<()> {
    let filter = json!({"service": {"timeout": "300ms"}});
    let mut stack = Stack::builder()
        .engines(1)
        .filter_config(&filter)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    stack.service()?.freeze();
    check_rejection(&stack, &cookie, 504, "service-timeout").await?;
    stack.service()?.resume();
    stack.open_qix("/app/sales.qvf", &cookie).await?;
    Ok(())
}

#[tokio::test]
async fn invalid_responses_of_the_service_are_rejected() -> Result<()> {
    let stack = stack_with_fake_service(2_000).await?;
    let good = placement_body(stack.engines[0].api)?;
    let spoil = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        FakeResponse::json(200, &body)
    };
    let mut garbage = FakeResponse::json(200, &Value::Null);
    garbage.body = b"<html>not JSON".to_vec();
    let other = |change: &dyn Fn(&mut Claims)| -> Result<Value> {
        let mut claims = Claims::for_account("demo");
        change(&mut claims);
        Ok(claims.sign()?.into())
    };
    let foreign =
        Claims::for_account("admin").sign_with("another secret, not the one of the filter")?;
    for (answer, reason) in [
        (garbage, "service-response-invalid"),
        (
            FakeResponse::json(200, &json!({})),
            "service-response-invalid",
        ),
        (
            FakeResponse::json(500, &json!({})),
            "service-response-invalid",
        ),
        (spoil("token", foreign.into()), "token-invalid"),
        (
            spoil("token", other(&|c| c.exp = 1_000_000_000)?),
            "token-invalid",
        ),
        (
            spoil("token", other(&|c| c.aud = "elsewhere".into())?),
            "token-invalid",
        ),
        (
            spoil("token", other(&|c| c.iss = "elsewhere".into())?),
            "token-invalid",
        ),
    ] {
        stack.fake_service()?.set_response(answer);
        check_rejection(&stack, COOKIE, 502, reason).await?;
    }
    for (field, value) in [
        ("destination", json!("localhost:22")),
        ("destination", json!("127.0.0.1")),
        ("cluster", json!("")),
        ("cluster", json!("en\r\ngines")),
        ("path", json!("app")),
        ("set_headers", json!({"host": "evil"})),
        ("set_headers", json!({"x-a": "b\r\nc: d"})),
    ] {
        stack
            .fake_service()?
            .set_response(spoil(field, value.clone()));
        let reply = stack
            .upgrade("/app/sales.qvf", &[("cookie", COOKIE)])
            .await?
            .into_rejection()?;
        let got = (reply.status, reply.reason());
        assert_eq!(
            got,
            (502, "service-response-invalid".into()),
            "{field}: {value}"
        );
    }
    stack
        .fake_service()?
        .set_response(FakeResponse::placement(stack.engines[0].api)?);
    stack
        .upgrade("/app/sales.qvf", &[("cookie", COOKIE)])
        .await?
        .into_socket()?;
    Ok(())
}

#[tokio::test]
async fn an_unknown_or_missing_cluster_rejects_requests() -> Result<()> {
    let stack = stack_with_fake_service(2_000).await?;
    let mut body = placement_body(stack.engines[0].api)?;
    body["cluster"] = "no-such-cluster".into();
    stack
        .fake_service()?
        .set_response(FakeResponse::json(200, &body));
    let reply = stack
        .upgrade("/app/sales.qvf", &[("cookie", COOKIE)])
        .await?
        .into_rejection()?;
    assert_eq!(reply.status, 503);

    let nowhere = json!({"service": {"cluster": "no-such-cluster"}});
    let mut stack = Stack::builder()
        .engines(1)
        .filter_config(&nowhere)
        .start()
        .await?;
    let session = format!("berth={}", "A".repeat(43));
    check_rejection(&stack, &session, 503, "service-cluster-missing").await?;
    stack.service()?.kill();
    Ok(())
}

#[tokio::test]
async fn a_client_that_disconnects_during_the_callout_affects_no_other() -> Result<()> {
    let stack = stack_with_fake_service(5_000).await?;
    let late =
        FakeResponse::placement(stack.engines[0].api)?.with_delay(Duration::from_millis(200));
    stack.fake_service()?.set_response(late);
    for asked in 1..=20 {
        let mut client = TcpStream::connect(stack.address()).await?;
        let request = upgrade_head(stack.address(), "/app/sales.qvf", COOKIE);
        client.write_all(request.as_bytes()).await?;
        stack.fake_service()?.wait_for_requests(asked).await?;
        drop(client);
    }
    // The filter still works, and no engine received a connection for the disconnected clients.
    stack
        .upgrade("/app/sales.qvf", &[("cookie", COOKIE)])
        .await?
        .into_socket()?;
    assert_eq!(stack.engines[0].upgrades().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn a_client_that_disconnects_while_an_engine_opens_leaves_no_session_behind() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let engine = &stack.engines[0];
    engine.faults(json!({"slow_open_ms": 300})).await?;
    for left in 1..=5 {
        let headers = [("cookie", cookie.as_str())];
        let going = stack.upgrade("/doc/session-doc", &headers);
        let arrived = || async { (engine.upgrades().await.ok()?.len() >= left).then_some(()) };
        tokio::select! {
            _ = going => return Err("the engine was not slow".into()),
            there = wait::poll_until("an upgrade at the engine", Duration::from_secs(5), arrived) => there?,
        }
    }
    let gone = || async { (engine.stats().await.ok()?.sessions == 0).then_some(()) };
    wait::poll_until("the unused sessions to end", Duration::from_secs(15), gone).await
}
