//! The end of engine sessions through Envoy: when a client leaves, and when its login session ends.

use berth_harness::{Call, Result, Stack, wait};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const PATH: &str = "/app/sales.qvf";
const TIMEOUT: Duration = Duration::from_secs(20);

/// The number of engine sessions, and of sockets.
async fn counts(stack: &Stack) -> Result<(usize, usize)> {
    let mut all = (0, 0);
    for engine in &stack.engines {
        let stats = engine.stats().await?;
        all = (all.0 + stats.sessions, all.1 + stats.sockets);
    }
    Ok(all)
}

async fn wait_for_counts(stack: &Stack, expected: (usize, usize)) -> Result<Duration> {
    let started_at = Instant::now();
    let reached = async || (counts(stack).await.ok()? == expected).then_some(());
    wait::poll_until(&format!("{expected:?}"), TIMEOUT, reached).await?;
    Ok(started_at.elapsed())
}

#[tokio::test]
async fn a_client_that_closes_with_1000_ends_its_engine_session_and_one_that_is_lost_does_not()
-> Result<()> {
    let stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    let (mut leaves, mut moves) = (
        stack.open_qix(PATH, &cookie).await?,
        stack.open_qix(PATH, &cookie).await?,
    );
    let lost = stack.open_qix(PATH, &cookie).await?;
    assert_eq!(counts(&stack).await?, (3, 3));
    let close = |code| {
        let reason = "".into();
        Message::Close(Some(CloseFrame { code, reason }))
    };
    leaves.socket.send(close(CloseCode::Normal)).await?;
    moves.socket.send(close(CloseCode::Away)).await?;
    drop(lost);
    wait_for_counts(&stack, (2, 0)).await?;
    // The service has ended no other session at the engines.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(counts(&stack).await?, (2, 0));
    Ok(())
}

#[tokio::test]
async fn a_logout_ends_engine_sessions_with_and_without_a_socket() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let (cookie, other) = (stack.login_demo().await?, stack.login_demo().await?);
    let open = stack.open_qix(PATH, &cookie).await?;
    let lost = stack.open_qix(PATH, &cookie).await?;
    let stays = stack.open_qix(PATH, &other).await?;
    drop(lost);
    wait_for_counts(&stack, (3, 2)).await?;
    let logout = Call::new("POST", "/logout").cookie(&cookie);
    let origin = format!("http://{}", stack.address());
    let reply = stack.send(logout.header("origin", &origin)).await?;
    assert!(reply.status < 400, "{}", reply.text());
    let elapsed = wait_for_counts(&stack, (1, 1)).await?;
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    drop((open, stays));
    Ok(())
}

#[tokio::test]
async fn the_first_queued_client_gets_the_room_of_one_that_leaves() -> Result<()> {
    let pool = json!({"capacity": {"per_pool": 1}, "queue": {"max_length": 9, "timeout": "9s"}});
    let stack = Stack::builder().pool(&pool).start().await?;
    let cookie = stack.login_demo().await?;
    let mut first = stack.open_qix(PATH, &cookie).await?;
    let (queued, closed) = tokio::join!(stack.open_qix(PATH, &cookie), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let code = CloseCode::Normal;
        let reason = "".into();
        let close = Message::Close(Some(CloseFrame { code, reason }));
        first.socket.send(close).await
    });
    closed?;
    assert_eq!(queued?.session_state, "SESSION_ATTACHED");
    Ok(())
}
