//! Cached tokens and shared callouts in Envoy, and how Envoy's metrics and access log describe requests. A fake
//! service takes the placement service's place: it counts calls and sends events.

use berth_harness::fake_service::FakeResponse;
use berth_harness::token::Claims;
use berth_harness::{Call, FakeService, Reply, Result, Stack, fake_service, wait};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::time::Duration;

/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(30);
const HITS: &str = "wasmcustom.berth_cache.result=hit";
const COALESCED: &str = "wasmcustom.berth_cache.result=coalesced";

fn cookie(n: usize) -> String {
    format!("berth={n:A>43}")
}

fn token_response(session: &str) -> Result<FakeResponse> {
    let claims = Claims::for_account("demo");
    Ok(FakeResponse::json(
        200,
        &json!({
            "token": claims.sign()?,
            "token_expires_at": claims.exp,
            "session_expires_at": claims.exp,
            "session_ref": session,
            "account": "demo",
            "roles": ["user"],
        }),
    ))
}

async fn start_stack(filter: &Value) -> Result<Stack> {
    let fake_service = FakeService::start().await?;
    let builder = Stack::builder().engines(1).fake_service(fake_service);
    builder.filter_config(filter).start().await
}

async fn whoami(stack: &Stack, cookie: &str) -> Result<Reply> {
    stack.send(Call::get("/api/whoami").cookie(cookie)).await
}

async fn stat(stack: &Stack, name: &str) -> Result<u64> {
    Ok(stack.envoy.stat(name).await?.unwrap_or_default())
}

/// Sends requests until the cache answers one.
async fn warm_up_cache(stack: &Stack, cookie: &str) -> Result<()> {
    let before = stat(stack, HITS).await?;
    let hit = || async {
        let reply = whoami(stack, cookie).await.ok()?;
        (reply.status == 200 && stat(stack, HITS).await.ok()? > before).then_some(())
    };
    wait::poll_until("a hit", LIMIT, hit).await
}

#[tokio::test]
async fn a_cached_token_costs_no_callout_until_its_session_ends() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    let service = stack.fake_service()?;
    service.set_response(token_response("ref-a")?);
    warm_up_cache(&stack, &cookie(1)).await?;
    let asked = service.requests().len();
    for _ in 0..50 {
        let reply = whoami(&stack, &cookie(1)).await?;
        assert_eq!(
            (reply.status, &reply.json()["account"]),
            (200, &json!("demo"))
        );
    }
    assert_eq!(service.requests().len(), asked);

    // The end of another session invalidates nothing.
    service
        .event_log()
        .push(json!({"type": "session-ended", "session_ref": "ref-b", "reason": "revoked"}));
    service.set_response(FakeResponse::json(
        401,
        &json!({"status": 401, "title": "t", "reason": "unknown-session"}),
    ));
    service
        .event_log()
        .push(json!({"type": "session-ended", "session_ref": "ref-a", "reason": "revoked"}));
    let refused = || async {
        let reply = whoami(&stack, &cookie(1)).await.ok()?;
        (reply.status == 440).then_some(())
    };
    wait::poll_until("a rejection", LIMIT, refused).await
}

#[tokio::test]
async fn without_events_every_request_makes_a_callout() -> Result<()> {
    let stack =
        start_stack(&json!({"events": {"poll_timeout": "200ms", "stale_after": "2200ms"}})).await?;
    let service = stack.fake_service()?;
    service.set_response(token_response("ref-a")?);
    warm_up_cache(&stack, &cookie(1)).await?;
    service.event_log().set_down(true);
    let calls_again = || async {
        let before = service.requests().len();
        whoami(&stack, &cookie(1)).await.ok()?;
        (service.requests().len() > before).then_some(())
    };
    wait::poll_until("a callout", LIMIT, calls_again).await?;
    let before = service.requests().len();
    for _ in 0..5 {
        assert_eq!(whoami(&stack, &cookie(1)).await?.status, 200);
    }
    assert_eq!(service.requests().len(), before + 5);
    service.event_log().set_down(false);
    warm_up_cache(&stack, &cookie(1)).await
}

#[tokio::test]
async fn a_hundred_concurrent_requests_of_a_session_make_one_callout() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    let service = stack.fake_service()?;
    for (n, (answer, status)) in [
        (token_response("ref-a")?, 200),
        (
            FakeResponse::json(
                503,
                &json!({"status": 503, "title": "t", "reason": "store-down"}),
            ),
            503,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let before = service.requests().len();
        service.set_response(answer.with_delay(Duration::from_secs(3)));
        let cookie = cookie(n);
        let replies = try_join_all((0..100).map(|_| whoami(&stack, &cookie))).await?;
        assert!(replies.iter().all(|reply| reply.status == status));
        assert_eq!(service.requests().len() - before, 1);
        let expected = 99 * u64::try_from(n + 1)?;
        let counted = || async {
            let coalesced = stat(&stack, COALESCED).await.ok()?;
            (coalesced == expected).then_some(())
        };
        wait::poll_until("99 to be counted", LIMIT, counted).await?;
    }
    Ok(())
}

#[tokio::test]
async fn when_the_leader_disconnects_the_other_requests_are_answered() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    let service = stack.fake_service()?;
    service.set_response(token_response("ref-a")?.with_delay(Duration::from_secs(3)));
    let cookie = cookie(7);
    let mut leader = Box::pin(whoami(&stack, &cookie));
    tokio::select! {
        _ = &mut leader => return Err("the leader should wait".into()),
        asked = service.wait_for_requests(1) => asked?,
    }
    let others = try_join_all((0..20).map(|_| whoami(&stack, &cookie)));
    let go = async {
        let all = || async { (stat(&stack, COALESCED).await.ok()? == 20).then_some(()) };
        wait::poll_until("20 waiting", LIMIT, all).await?;
        drop(leader);
        Ok(())
    };
    let (replies, ()) = tokio::try_join!(others, go)?;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(service.requests().len(), 2);
    Ok(())
}

#[tokio::test]
async fn metrics_have_labels_and_the_access_log_names_the_engine() -> Result<()> {
    let mut stack = start_stack(&json!({})).await?;
    let service = stack.fake_service()?;
    service.set_response(token_response("ref-log")?);
    assert_eq!(whoami(&stack, &cookie(1)).await?.status, 200);
    assert_eq!(stack.send(Call::get("/nowhere")).await?.status, 404);
    let answer = fake_service::placement_body(stack.engines[0].api)?;
    stack
        .fake_service()?
        .set_response(FakeResponse::json(200, &answer));
    let socket = stack.open_socket("/app/sales.qvf", &cookie(2)).await?;

    let counters = || async {
        let counters = Call::get("/stats/prometheus")
            .send(stack.envoy.admin)
            .await
            .ok()?
            .text();
        // The filter reports its counters together, at its next tick.
        counters
            .contains(r#"berth_requests{action="place""#)
            .then_some(counters)
    };
    let text = wait::poll_until("the counters", LIMIT, counters).await?;
    for line in [
        r#"berth_requests{action="authenticate",route="/api/"} 1"#,
        r#"berth_requests{action="place",route="/app/"} 1"#,
        r#"berth_rejections{reason="no-route",route="none"} 1"#,
        r#"berth_cache{result="miss"} 1"#,
        r#"berth_streams_opened{pool="stand-in"} 1"#,
    ] {
        let ours = text
            .lines()
            .filter(|line| line.contains("berth_"))
            .collect::<Vec<_>>();
        assert!(text.lines().any(|l| l == line), "{line}: {ours:#?}");
    }
    // Envoy merges histograms every 5 seconds.
    let measured = || async {
        let text = Call::get("/stats/prometheus")
            .send(stack.envoy.admin)
            .await
            .ok()?
            .text();
        let bucket = |le: &str| format!(r#"berth_callout_duration_us_bucket{{le="{le}"}}"#);
        let has = |le: &str, n: &str| text.lines().any(|l| l.strip_prefix(&bucket(le)) == Some(n));
        (has("12000000", " 2") && has("100", " 0")).then_some(())
    };
    wait::poll_until("the histogram of callouts", LIMIT, measured).await?;

    drop(socket);
    let log = stack.envoy.process();
    let logged = || {
        let text = log.log();
        let whoami = text
            .lines()
            .any(|l| l.contains("/api/whoami") && l.contains("session=ref-log id="));
        let socket = text.lines().any(|l| {
            l.contains("/app/")
                && l.contains("session=stand-in pool=stand-in engine=engine-0 placement=only-one")
        });
        async move { (whoami && socket).then_some(()) }
    };
    wait::poll_until("the access log", LIMIT, logged).await
}
