//! Open sockets of one gateway: its reports, and the effect of events on them. A fake service takes the placement
//! service's place, so that a test controls events and their times.

use berth_harness::fake_service::{self, FakeResponse};
use berth_harness::{Call, FakeService, Result, Stack, WebSocket, envoy, render, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const COOKIE: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(30);

async fn start_stack(filter: &Value) -> Result<Stack> {
    let fake_service = FakeService::start().await?;
    let builder = Stack::builder().engines(1).fake_service(fake_service);
    builder.filter_config(filter).start().await
}

/// Opens a socket of this session with this stream id.
async fn open_socket(stack: &Stack, session: &str, stream: &str) -> Result<WebSocket> {
    open_with_placement(stack, &json!({"session_ref": session, "stream": stream})).await
}

async fn open_with_placement(stack: &Stack, patch: &Value) -> Result<WebSocket> {
    let engine = stack.engines.first().ok_or("no engine")?;
    let mut answer = fake_service::placement_body(engine.api)?;
    render::merge(&mut answer, patch);
    stack
        .fake_service()?
        .set_response(FakeResponse::json(200, &answer));
    stack.open_socket("/app/sales.qvf", COOKIE).await
}

/// Waits for this number of items in this list of the reports.
async fn await_reported(stack: &Stack, list: &str, count: usize) -> Result<Vec<Value>> {
    let event_log = stack.fake_service()?.event_log();
    let what = format!("{count} {list}");
    let enough = || async { Some(event_log.reported_items(list)).filter(|all| all.len() >= count) };
    wait::poll_until(&what, LIMIT, enough).await
}

fn end_event(session: &str, reason: &str) -> Value {
    json!({"type": "session-ended", "session_ref": session, "reason": reason})
}

#[tokio::test]
async fn reports_describe_a_socket_completely() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    let mut socket = open_socket(&stack, "ref-a", "stream-a").await?;
    let opened = await_reported(&stack, "opened", 1).await?;
    let stream = &opened[0];
    assert_eq!(
        (&stream["stream"], &stream["session_ref"]),
        (&json!("stream-a"), &json!("ref-a"))
    );
    assert_eq!(
        (&stream["pool"], &stream["engine"]),
        (&json!("stand-in"), &json!("engine-0"))
    );
    assert!(stream["opened_at"].as_u64() > Some(1_700_000_000));

    socket.send(Message::text("x".repeat(1_000))).await?;
    socket.next_message().await?;
    assert_eq!(await_reported(&stack, "active", 1).await?, ["ref-a"]);
    assert_eq!(
        stack
            .envoy
            .stat("wasmcustom.berth_streams_opened.pool=stand-in")
            .await?,
        Some(1)
    );
    drop(socket);

    let closed = await_reported(&stack, "closed", 1).await?;
    let stream = &closed[0];
    assert_eq!(
        (&stream["stream"], &stream["reason"]),
        (&json!("stream-a"), &json!("ended"))
    );
    // The frame header and the mask are 8 bytes.
    assert_eq!(stream["bytes_received"], 1_008);
    assert!(stream["bytes_sent"].as_u64() > Some(100), "{stream}");
    assert_eq!(
        stack
            .envoy
            .stat("wasmcustom.berth_streams_closed.reason=ended")
            .await?,
        Some(1)
    );

    let reports = stack.fake_service()?.event_log().reports();
    let numbers: Vec<u64> = reports
        .iter()
        .filter_map(|(_, r)| r["sequence"].as_u64())
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );
    assert!(
        reports
            .iter()
            .all(|(name, _)| *name == reports[0].0 && name.len() == 32)
    );
    Ok(())
}

#[tokio::test]
async fn an_upgrade_that_the_engine_rejects_is_reported_as_refused() -> Result<()> {
    let mut stack = start_stack(&json!({})).await?;
    stack.engines[0].kill();
    let answer = FakeResponse::placement(stack.engines[0].api)?;
    stack.fake_service()?.set_response(answer);
    let refused = stack
        .upgrade("/app/sales.qvf", &[("cookie", COOKIE)])
        .await?
        .into_rejection()?;
    assert_eq!(refused.status, 503);
    let closed = await_reported(&stack, "closed", 1).await?;
    assert_eq!(closed[0]["reason"], "refused");
    Ok(())
}

#[tokio::test]
async fn the_end_of_a_session_closes_only_its_sockets() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    for (reason, code) in [("revoked", 4403), ("expired", 4401)] {
        let session = format!("ref-{reason}");
        let mut chatty = open_socket(&stack, &session, "chatty").await?;
        let mut idle = open_socket(&stack, &session, "idle").await?;
        let mut other = open_socket(&stack, "ref-other", "other").await?;
        // The idle socket sends once. The limit for silence is longer than this test.
        idle.send(Message::text("{}")).await?;
        let event_log = stack.fake_service()?.event_log();
        let started_at = Instant::now();
        let talk = async {
            let code = chatty.send_until_closed(LIMIT).await?;
            Ok::<_, berth_harness::Error>((code, started_at.elapsed()))
        };
        let listen = async {
            idle.receive_until_closed().await?;
            Ok::<_, berth_harness::Error>(started_at.elapsed())
        };
        let tell = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            event_log.push(end_event(&session, reason));
            Ok::<_, berth_harness::Error>(())
        };
        let ((seen, talked), listened, ()) = tokio::try_join!(talk, listen, tell)?;
        assert_eq!(seen, Some(code), "{reason}");
        println!(
            "{reason}: chatty closed after {talked:?}, idle after {listened:?}, both including a delay of 200 ms"
        );
        assert!(talked < Duration::from_secs(10) && listened < Duration::from_secs(10));
        other.send(Message::text("still here")).await?;
        other.next_message().await?;
    }
    let event_log = stack.fake_service()?.event_log();
    let with = |reason: &str| {
        let closed = event_log.reported_items("closed");
        closed
            .iter()
            .filter(|stream| stream["reason"] == reason)
            .count()
    };
    let all = || async { ((with("revoked"), with("expired")) == (2, 2)).then_some(()) };
    wait::poll_until("two revoked, two expired", LIMIT, all).await
}

#[tokio::test]
async fn an_ended_session_opens_no_socket() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    let mut first = open_socket(&stack, "ref-a", "first").await?;
    let event_log = stack.fake_service()?.event_log();
    await_reported(&stack, "opened", 1).await?;
    event_log.push(end_event("ref-a", "revoked"));
    first.receive_until_closed().await?;
    let refused = stack
        .upgrade("/app/sales.qvf", &[("cookie", COOKIE)])
        .await?
        .into_rejection()?;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (401, "session-expired")
    );
    Ok(())
}

#[tokio::test]
async fn a_gateway_closes_expired_sessions_and_old_sockets_without_the_service() -> Result<()> {
    let routes =
        json!([{"prefix": "/app/", "action": "place", "max_age": "3s", "max_age_jitter": 0}]);
    let stack = start_stack(&json!({"routes": routes, "login_path": "/login"})).await?;
    let mut old = open_socket(&stack, "ref-a", "old").await?;
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let brief = json!({"session_ref": "ref-b", "stream": "brief", "session_expires_at": now + 2});
    let mut brief = open_with_placement(&stack, &brief).await?;
    stack.fake_service()?.event_log().set_down(true);
    let codes = tokio::try_join!(old.send_until_closed(LIMIT), brief.send_until_closed(LIMIT))?;
    assert_eq!(codes, (Some(4408), Some(4401)));
    assert_eq!(
        stack
            .envoy
            .stat("wasmcustom.berth_stream_age_warnings")
            .await?,
        Some(2)
    );
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_events_closes_no_socket_and_is_followed_by_a_full_sync() -> Result<()> {
    let stack =
        start_stack(&json!({"events": {"poll_timeout": "1s", "stale_after": "3s"}})).await?;
    let mut socket = open_socket(&stack, "ref-a", "kept").await?;
    await_reported(&stack, "opened", 1).await?;
    let event_log = stack.fake_service()?.event_log();
    event_log.set_down(true);
    let failures = "wasmcustom.berth_event_poll_failures";
    let failed = || async {
        stack
            .envoy
            .stat(failures)
            .await
            .ok()
            .flatten()
            .filter(|n| *n >= 3)
    };
    wait::poll_until("failures", LIMIT, failed).await?;
    let during = open_socket(&stack, "ref-b", "during").await?;
    let refused = || async { (event_log.rejected_reports() > 0).then_some(()) };
    wait::poll_until("a rejected report", LIMIT, refused).await?;
    socket.send(Message::text("{}")).await?;
    socket.next_message().await?;
    // Events during the outage are delivered after it.
    event_log.push(end_event("ref-a", "revoked"));
    event_log.set_down(false);
    assert_eq!(socket.send_until_closed(LIMIT).await?, Some(4403));
    let whole = || async {
        let reports = event_log.reports();
        let listed = |(_, report): &(String, Value)| {
            let streams = report["opened"].to_string();
            report["full"] == "whole" && streams.contains("during")
        };
        reports.iter().any(listed).then_some(())
    };
    wait::poll_until("the whole list", LIMIT, whole).await?;
    drop(during);
    Ok(())
}

#[tokio::test]
async fn sockets_of_an_old_configuration_are_controlled_until_they_close() -> Result<()> {
    let stack = start_stack(&json!({})).await?;
    let mut old = open_socket(&stack, "ref-a", "old").await?;
    let mut silent = open_socket(&stack, "ref-a", "silent").await?;
    envoy::push_filter_config(&stack.dir, "2", &json!({"api_prefixes": ["/other"]}))?;
    let changed = || async {
        let reply = Call::get("/api/whoami").header("sec-fetch-mode", "navigate");
        let reply = stack.send(reply).await.ok()?;
        (reply.status == 302).then_some(())
    };
    wait::poll_until("the new configuration", LIMIT, changed).await?;
    let mut new = open_socket(&stack, "ref-a", "new").await?;
    await_reported(&stack, "opened", 3).await?;
    let names: std::collections::BTreeSet<String> = stack
        .fake_service()?
        .event_log()
        .reports()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names.len(), 2, "each configuration has its own gateway");
    stack
        .fake_service()?
        .event_log()
        .push(end_event("ref-a", "revoked"));
    let codes = tokio::try_join!(old.send_until_closed(LIMIT), new.send_until_closed(LIMIT))?;
    assert_eq!(codes, (Some(4403), Some(4403)));
    silent.receive_until_closed().await
}

#[tokio::test]
async fn many_sockets_on_two_workers_close_within_seconds() -> Result<()> {
    const SOCKETS: usize = 200;
    let fake_service = FakeService::start().await?;
    let builder = Stack::builder()
        .engines(1)
        .fake_service(fake_service)
        .envoy_concurrency(2);
    let stack = builder.start().await?;
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        sockets.push(open_socket(&stack, "ref-a", "many").await?);
    }
    await_reported(&stack, "opened", SOCKETS).await?;
    stack
        .fake_service()?
        .event_log()
        .push(end_event("ref-a", "revoked"));
    let started_at = Instant::now();
    let closings = sockets.into_iter().enumerate().map(|(index, mut socket)| {
        tokio::spawn(async move {
            if index % 2 == 0 {
                socket.receive_until_closed().await?;
                return Ok((None, started_at.elapsed()));
            }
            let code = socket.send_until_closed(LIMIT).await?;
            Ok::<_, berth_harness::Error>((Some(code), started_at.elapsed()))
        })
    });
    let mut times = vec![];
    let mut codes = 0;
    for closing in closings.collect::<Vec<_>>() {
        let (code, time) = closing.await??;
        codes += usize::from(code == Some(Some(4403)));
        times.push(time);
    }
    times.sort();
    println!(
        "closed: p50 {:?}, p99 {:?}; {codes} with 4403",
        times[SOCKETS / 2],
        times[SOCKETS * 99 / 100]
    );
    assert!(times[SOCKETS - 1] < Duration::from_secs(10));
    assert!(
        codes > SOCKETS / 4,
        "{codes} of {} chatty ones",
        SOCKETS / 2
    );
    Ok(())
}
