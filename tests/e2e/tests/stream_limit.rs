//! One login cookie that opens socket after socket gets the maximum per session; other sessions are not affected.

use berth_harness::{Result, Stack, wait};
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/app/sales.qvf";
const LIMIT: usize = 3;
/// Long, because the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_session_opens_its_maximum_of_sockets_and_one_more_for_each_that_closes() -> Result<()> {
    let limit = json!({"placement": {"max_streams_per_session": LIMIT}});
    let stack = Stack::builder()
        .engines(1)
        .service_config(&limit)
        .start()
        .await?;
    let (cookie, other) = (stack.login_demo().await?, stack.login_demo().await?);
    let headers = [("cookie", cookie.as_str())];
    let mut sockets = Vec::new();
    for _ in 0..LIMIT {
        sockets.push(stack.upgrade(PATH, &headers).await?.into_socket()?);
    }
    for _ in 0..5 {
        let reply = stack.upgrade(PATH, &headers).await?.into_rejection()?;
        let got = (reply.status, reply.reason());
        assert_eq!(got, (429, "too-many-streams".to_owned()));
        assert_eq!(reply.header("retry-after"), "5");
    }
    let rejections = "wasmcustom.berth_rejections.reason=too-many-streams.route=/app/";
    assert_eq!(stack.envoy.stat(rejections).await?, Some(5));
    let mut others = stack
        .upgrade(PATH, &[("cookie", other.as_str())])
        .await?
        .into_socket()?;
    others.next_message().await?;
    // No rejected upgrade reached an engine.
    assert_eq!(stack.engines[0].stats().await?.sockets, LIMIT + 1);

    sockets.pop();
    let again = || async { stack.upgrade(PATH, &headers).await.ok()?.into_socket().ok() };
    sockets.push(wait::poll_until("a place for one more", TIMEOUT, again).await?);
    let reply = stack.upgrade(PATH, &headers).await?.into_rejection()?;
    assert_eq!(reply.reason(), "too-many-streams");
    for socket in &mut sockets {
        socket.next_message().await?;
    }
    Ok(())
}
