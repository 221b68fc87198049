//! Where a WebSocket is and why it ended, through the whole stack: the access log has a line when it opens and one when
//! it ends, and the id in them is that of the service's log and of the engine's request. Operators list and close open
//! WebSockets.

use berth_harness::{Call, Result, Stack, WebSocket, wait};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

const PATH: &str = "/app/sales.qvf";
/// Long, because the machine may be busy.
const LIMIT: Duration = Duration::from_secs(60);
const OPENED: &str = "log=DownstreamTunnelSuccessfullyEstablished";
const ENDED: &str = "log=DownstreamEnd";

async fn start_stack() -> Result<Stack> {
    let client =
        json!({"name": "ops", "role": "operator", "secret": {"inline": "operator-secret-1"}});
    let patch = json!({"api": {"clients": [client]}});
    Stack::builder()
        .engines(1)
        .service_config(&patch)
        .start()
        .await
}

/// The value of a field of a line of the access log.
fn field(line: &str, name: &str) -> Option<String> {
    let start = format!("{name}=");
    let value = line.split(' ').find_map(|part| part.strip_prefix(&start));
    value.map(str::to_owned)
}

/// Waits for a line of the access log that has all these parts.
async fn wait_for_line(stack: &mut Stack, parts: &[&str]) -> Result<String> {
    let envoy = stack.envoy.process();
    let find = || {
        let log = envoy.log();
        let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
        let line = log.lines().find(has_all).map(str::to_owned);
        async move { line }
    };
    wait::poll_until(&format!("{parts:?} in the access log"), LIMIT, find).await
}

async fn call_service(stack: &Stack, method: &str, path: &str) -> Result<(u16, Value)> {
    let service = stack.service.as_ref().ok_or("no service")?;
    let call = Call::new(method, path).header("authorization", "Bearer operator-secret-1");
    let reply = call.send(service.addr).await?;
    let body = match reply.status {
        204 => Value::Null,
        _ => reply.json(),
    };
    Ok((reply.status, body))
}

/// Opens a WebSocket, and waits until the service lists it as the only one. Returns it and its entry.
async fn open_socket(stack: &Stack, cookie: &str) -> Result<(WebSocket, Value)> {
    let socket = stack.open_socket(PATH, cookie).await?;
    let listed = || async {
        let (_, page) = call_service(stack, "GET", "/v1/streams?account=demo")
            .await
            .ok()?;
        let streams = page.get("streams")?.as_array()?;
        streams.first().filter(|_| streams.len() == 1).cloned()
    };
    let entry = wait::poll_until("the list of streams", LIMIT, listed).await?;
    Ok((socket, entry))
}

#[tokio::test]
async fn the_access_log_tells_how_each_socket_opened_and_ended() -> Result<()> {
    let mut stack = start_stack().await?;
    let cookie = stack.login_demo().await?;

    let (mut socket, entry) = open_socket(&stack, &cookie).await?;
    let stream = format!("stream={}", entry["stream"].as_str().ok_or("no name")?);
    let line = wait_for_line(&mut stack, &[OPENED, &stream]).await?;
    assert_eq!(
        field(&line, "session").as_deref(),
        entry["session_ref"].as_str()
    );
    let id = field(&line, "id").ok_or("no id")?;
    let upgrades = stack.engines[0].upgrades().await?;
    let at_engine = upgrades.last().ok_or("no upgrade")?;
    let ids: Vec<&str> = at_engine.header("x-request-id").collect();
    assert_eq!(ids, [id.as_str()]);
    let close = CloseFrame {
        code: 4999.into(),
        reason: "".into(),
    };
    socket.send(Message::Close(Some(close))).await?;
    let line = wait_for_line(&mut stack, &[ENDED, &stream]).await?;
    assert!(line.contains("end=client-closed code=4999 "), "{line}");
    assert_eq!(field(&line, "id"), Some(id));
    assert_eq!(
        field(&line, "gateway").as_deref(),
        entry["gateway"].as_str()
    );

    let (socket, entry) = open_socket(&stack, &cookie).await?;
    let stream = format!("stream={}", entry["stream"].as_str().ok_or("no name")?);
    drop(socket);
    let line = wait_for_line(&mut stack, &[ENDED, &stream]).await?;
    assert!(line.contains("end=client-gone "), "{line}");

    let (mut socket, entry) = open_socket(&stack, &cookie).await?;
    let name = entry["stream"].as_str().ok_or("no name")?.to_owned();
    assert_eq!(
        (&entry["node"], &entry["account"]),
        (&json!("envoy"), &json!("demo"))
    );
    let (status, _) = call_service(&stack, "DELETE", &format!("/v1/streams/{name}")).await?;
    assert_eq!(status, 204);
    assert_eq!(socket.send_until_closed(LIMIT).await?, Some(4410));
    let stream = format!("stream={name}");
    let line = wait_for_line(&mut stack, &[ENDED, &stream]).await?;
    assert!(line.contains("end=closed-by-operator code=4410 "), "{line}");

    let (mut socket, entry) = open_socket(&stack, &cookie).await?;
    let stream = format!("stream={}", entry["stream"].as_str().ok_or("no name")?);
    let (status, _) = call_service(&stack, "DELETE", "/v1/sessions?account=demo").await?;
    assert_eq!(status, 200);
    assert_eq!(socket.send_until_closed(LIMIT).await?, Some(4403));
    let line = wait_for_line(&mut stack, &[ENDED, &stream]).await?;
    assert!(line.contains("end=revoked code=4403 "), "{line}");

    let cookie = stack.login_demo().await?;
    let (_socket, entry) = open_socket(&stack, &cookie).await?;
    let stream = format!("stream={}", entry["stream"].as_str().ok_or("no name")?);
    stack.engines[0].kill();
    let line = wait_for_line(&mut stack, &[ENDED, &stream]).await?;
    assert!(line.contains("end=engine-lost "), "{line}");
    Ok(())
}

#[tokio::test]
async fn the_id_of_a_failed_socket_finds_its_line_in_the_log_of_the_service() -> Result<()> {
    let mut stack = start_stack().await?;
    let cookie = stack.login_demo().await?;
    stack.engines[0].kill();
    let headers = [("cookie", cookie.as_str())];
    // The first call is an HTTP request, later ones go over the call stream.
    for number in 0..3 {
        let path = format!("{PATH}?number={number}&n{number}");
        let path = path.replace("sales", &format!("sales{number}"));
        let refused = stack.upgrade(&path, &headers).await?.into_rejection()?;
        assert_eq!(refused.status, 503, "{}", refused.text());
        let line = wait_for_line(&mut stack, &[&format!("/app/sales{number}.qvf 503 ")]).await?;
        let id = field(&line, "id").ok_or("no id")?;
        let service = stack.service()?.process().ok_or("no service")?;
        let log = service.log();
        let mut lines = log.lines().filter(|line| line.contains(&id));
        let refused = lines.find(|line| line.contains("a call is refused"));
        let refused = refused.ok_or_else(|| format!("{id} is not in the log:\n{log}"))?;
        let reason = refused.contains("no-engine") || refused.contains("engine-failed");
        assert!(reason, "{refused}");
    }
    Ok(())
}
