//! A tab that reconnects through Envoy gets the same engine session, with its document still open.

use berth_harness::{Call, Result, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;

const TAB: &str = "/app/sales.qvf?berth_tab=t1";
const TIMEOUT: Duration = Duration::from_secs(20);

/// Number of engine sessions created so far, and of open ones.
async fn session_counts(stack: &Stack) -> Result<(u64, usize)> {
    let mut all = (0, 0);
    for engine in &stack.engines {
        if let Ok(stats) = engine.stats().await {
            all = (all.0 + stats.created_total, all.1 + stats.sessions);
        }
    }
    Ok(all)
}

/// The engine of the tab's latest placement.
async fn engine_of_tab(stack: &Stack, cookie: &str) -> Result<String> {
    let placements = Call::get("/session/placements").cookie(cookie);
    let placements = stack.send(placements).await?.json();
    let engine = placements.pointer("/placements/0/engine");
    let engine = engine.and_then(Value::as_str);
    Ok(engine.ok_or("no placement")?.to_owned())
}

#[tokio::test]
async fn a_tab_reconnects_to_its_engine_session() -> Result<()> {
    let mut stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    let first = stack.open_qix(TAB, &cookie).await?;
    assert_eq!(first.session_state, "SESSION_ATTACHED");
    let home = engine_of_tab(&stack, &cookie).await?;
    drop(first);
    for _ in 0..5 {
        let mut again = stack.open_qix(TAB, &cookie).await?;
        assert_eq!(again.session_state, "SESSION_ATTACHED");
        let active = again.call(-1, "GetActiveDoc", json!([])).await?;
        assert_eq!(
            active.pointer("/qReturn/qType"),
            Some(&"Doc".into()),
            "{active}"
        );
        assert_eq!(engine_of_tab(&stack, &cookie).await?, home);
    }
    assert_eq!(session_counts(&stack).await?, (1, 1));
    let other = stack
        .open_qix("/app/sales.qvf?berth_tab=t2", &cookie)
        .await?;
    assert_eq!(session_counts(&stack).await?, (2, 2));
    drop(other);

    let gone = stack.engines.iter_mut().find(|e| e.name == home);
    gone.ok_or("no such engine")?.kill();
    let replaced = stack.open_qix(TAB, &cookie).await?;
    assert_eq!(replaced.session_state, "SESSION_ATTACHED");
    assert_ne!(engine_of_tab(&stack, &cookie).await?, home);
    Ok(())
}

#[tokio::test]
async fn enigma_js_reconnects_to_its_open_document() -> Result<()> {
    // enigma.js closes with 1000, which would end its engine session.
    let keeping = json!({"end_on_close": false});
    let stack = Stack::builder().pool(&keeping).start().await?;
    let cookie = stack.login_demo().await?;
    let answers = stack.open_with_enigma(&cookie, &[TAB; 4]).await?;
    assert_eq!(answers.len(), 4);
    assert_eq!(session_counts(&stack).await?, (1, 1), "one session for all");
    Ok(())
}

#[tokio::test]
async fn all_sockets_on_a_document_share_one_session_in_a_sharing_pool() -> Result<()> {
    let sharing = json!({"sharing": "per-document"});
    let stack = Stack::builder().pool(&sharing).start().await?;
    let cookie = stack.login_demo().await?;
    let mut open = vec![];
    for path in ["/app/sales.qvf", TAB, "/app/sales.qvf?berth_tab=t2"] {
        open.push(stack.open_qix(path, &cookie).await?);
    }
    assert_eq!(session_counts(&stack).await?, (1, 1));
    let another = stack.login_demo().await?;
    open.push(stack.open_qix("/app/sales.qvf", &another).await?);
    assert_eq!(session_counts(&stack).await?, (2, 2));
    drop(open);
    wait::poll_until("all sockets are closed", TIMEOUT, async || {
        for engine in &stack.engines {
            if engine.stats().await.ok()?.sockets > 0 {
                return None;
            }
        }
        Some(())
    })
    .await?;
    let again = stack.open_qix("/app/sales.qvf", &cookie).await?;
    assert_eq!(again.session_state, "SESSION_ATTACHED");
    assert_eq!(session_counts(&stack).await?, (2, 2));
    Ok(())
}
