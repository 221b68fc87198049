//! Names of documents with slashes, as clients encode them in a path; and the same escapes elsewhere, which are refused
//! before they reach an upstream.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::{Call, Result, Stack, wait};
use std::time::Duration;

const SLASHED: &str = "/app/folder%2Fbook.qvf";

async fn start() -> Result<Stack> {
    let documents = [
        "--document",
        "folder/book.qvf",
        "--document",
        "folder\\book.qvf",
    ];
    let builder = Stack::builder().engines(1).engine_args(&documents);
    builder.start().await
}

#[tokio::test]
async fn an_escaped_slash_is_part_of_the_documents_name() -> Result<()> {
    let stack = start().await?;
    let cookie = stack.login_demo().await?;
    for (path, document) in [
        (SLASHED, "folder/book.qvf"),
        ("/app/folder%5Cbook.qvf", "folder\\book.qvf"),
        ("/app/folder%5cbook.qvf", "folder\\book.qvf"),
        ("/app/folder/book.qvf", "folder/book.qvf"),
        ("/doc/doc/folder%2Fbook.qvf", "folder/book.qvf"),
    ] {
        let _socket = stack.open_socket(path, &cookie).await?;
        let docs = stack.engines[0].stats().await?.docs;
        assert!(docs.iter().any(|one| one == document), "{path}: {docs:?}");
    }
    Ok(())
}

#[tokio::test]
async fn escapes_outside_of_a_document_and_traversals_are_refused() -> Result<()> {
    let stack = start().await?;
    let cookie = stack.login_demo().await?;
    for path in [
        // On an authenticate route, a bypass route, and a bypass route that is a prefix.
        "/api/whoami%2Fx",
        "/api/x%5Cwhoami",
        "/berth/x%2fberth.js",
        // A path that would be another one after decoding.
        "/app/..%2fapi%2Fwhoami",
        "/app/..%2F..%2Fv1%2Ftokens",
        "/app/x%5c..%5Cbook.qvf",
        "/app/%2e%2e%2fsession",
        "/berth/..%2Fv1/tokens",
    ] {
        let reply = stack.send(Call::get(path).cookie(&cookie)).await?;
        let problem = (reply.status, reply.reason());
        assert_eq!(problem, (400, "bad-request".to_owned()), "{path}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }
    for path in ["/app/..%2fbook.qvf", "/app/x%5c..%5Cbook.qvf"] {
        let cookie = [("cookie", cookie.as_str())];
        let reply = stack.upgrade(path, &cookie).await?.into_rejection()?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (400, "bad-request")
        );
    }
    // Envoy resolves a segment of dots alone before the filter sees the path, so both decide on the same one.
    let reply = stack
        .send(Call::get("/app/%2e%2e/v1/tokens").cookie(&cookie))
        .await?;
    assert_eq!((reply.status, reply.reason().as_str()), (404, "no-route"));
    // An escaped separator does not lead from one route to another.
    for path in ["/app%2Fbook.qvf", "/api%2Fwhoami", "/v1%2Ftokens"] {
        let reply = stack.send(Call::get(path).cookie(&cookie)).await?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (404, "no-route"),
            "{path}"
        );
    }
    assert_eq!(stack.app.requests(), 0);
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn the_access_log_has_the_path_of_the_client() -> Result<()> {
    let mut stack = start().await?;
    let cookie = stack.login_demo().await?;
    drop(
        stack
            .open_socket(&format!("{SLASHED}?berth_tab=secret-tab"), &cookie)
            .await?,
    );
    let log = stack.envoy.process();
    let logged = || {
        let text = log.log();
        let line = text.lines().find(|line| line.contains("pool=qix"));
        let line = line.map(str::to_owned);
        async move { line }
    };
    let line = wait::poll_until("the access log", Duration::from_secs(30), logged).await?;
    assert!(line.contains(&format!(" GET {SLASHED} 101 ")), "{line}");
    assert!(!line.contains("secret-tab"), "{line}");
    Ok(())
}
