//! Malformed and ambiguous handshakes: none of their headers reaches an engine, and none of them opens a WebSocket.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::client::{Http2, RawReply, upgrade_head};
use berth_harness::{Call, Result, Stack};

#[tokio::test]
async fn an_engine_gets_no_header_of_a_client_that_it_trusts() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let head = upgrade_head(stack.address(), "/app/sales.qvf", &cookie);
    let head = head.replace(
        "connection: Upgrade\r\n",
        "connection: Upgrade, authorization, x-qlik-session\r\nx-qlik-user: UserId=admin\r\nX-Qlik-Xrfkey: 1\r\nproxy-authorization: Basic YTpi\r\nx-berth-session: live\r\n",
    );
    let answer = RawReply::send(stack.address(), &head).await?;
    assert_eq!(answer.status(), 101, "{}", answer.text());
    let upgrades = stack.engines[0].upgrades().await?;
    let client = upgrades.last().ok_or("no upgrade")?;
    assert_eq!(client.header("connection").collect::<Vec<_>>(), ["Upgrade"]);
    for name in ["authorization", "x-qlik-session"] {
        assert_eq!(client.header(name).count(), 1, "{name}");
    }
    for (name, value) in &client.headers {
        let name = name.to_ascii_lowercase();
        assert!(!name.starts_with("x-berth-"), "{name}: {value}");
        assert_ne!(name, "proxy-authorization");
        assert!(
            !name.starts_with("x-qlik-") || name == "x-qlik-session",
            "{name}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_minimal_configuration_sends_no_header_of_berth_to_an_engine() -> Result<()> {
    let stack = Stack::builder().engines(1).minimal().start().await?;
    let cookie = stack.login_demo().await?;
    let _socket = stack.open_socket("/app/sales.qvf", &cookie).await?;
    let upgrades = stack.engines[0].upgrades().await?;
    let client = upgrades.last().ok_or("no upgrade")?;
    let names = client
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase());
    let berth: Vec<String> = names.filter(|name| name.starts_with("x-berth-")).collect();
    assert!(berth.is_empty(), "{berth:?}");
    Ok(())
}

#[tokio::test]
async fn ambiguous_handshakes_reach_no_engine() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let head = upgrade_head(stack.address(), "/app/sales.qvf", &cookie);
    let version = "sec-websocket-version: 13\r\n";
    let host = format!("host: {}\r\n", stack.address());
    let with = |old: &str, new: &str| {
        assert!(head.contains(old));
        head.replace(old, new)
    };
    let body = |header: &str, body: &str| format!("{}\r\n{header}\r\n\r\n{body}", head.trim_end());
    for (what, text, expected) in [
        ("another version", with("version: 13", "version: 8"), 426),
        (
            "two versions",
            with(version, &format!("{version}sec-websocket-version: 8\r\n")),
            426,
        ),
        (
            "two hosts",
            with(&host, &format!("{host}host: evil.example\r\n")),
            400,
        ),
        ("no host", with(&host, ""), 400),
        ("a host that is none", with(&host, "host: a@b\r\n"), 400),
        ("a body", body("content-length: 5", "hello"), 400),
    ] {
        let answer = RawReply::send(stack.address(), &text).await?;
        assert_eq!(answer.status(), expected, "{what}: {}", answer.text());
        if expected == 426 {
            let text = answer.text();
            assert!(text.contains("sec-websocket-version: 13\r\n"), "{text}");
            assert!(text.contains("\"reason\":\"websocket-version\""), "{text}");
        }
    }
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);
    assert_eq!(stack.app.requests(), 0);
    // The same request without a fault opens a WebSocket.
    let answer = RawReply::send(stack.address(), &head).await?;
    assert_eq!(answer.status(), 101);
    Ok(())
}

/// Envoy removes `Transfer-Encoding` from an upgrade before the filter sees it. What follows the head are frames, as after
/// every upgrade, so no server between client and engine reads a body.
#[tokio::test]
async fn a_chunked_upgrade_has_no_body_at_the_engine() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let head = upgrade_head(stack.address(), "/app/sales.qvf", &cookie);
    let head = head.trim_end();
    let text = format!("{head}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    RawReply::send(stack.address(), &text).await?;
    let upgrades = stack.engines[0].upgrades().await?;
    assert_eq!(upgrades.len(), 2, "prepared, then opened");
    for upgrade in &upgrades {
        for name in ["transfer-encoding", "content-length"] {
            assert_eq!(upgrade.header(name).count(), 0, "{name}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn two_hosts_over_http2_reach_no_upstream() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let mut client = Http2::connect_plain(stack.address()).await?;
    let call = Call::get("/api/headers").cookie(&cookie);
    let reply = client.send(call.clone()).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let two = call.header("host", "evil.example");
    // Envoy may refuse the stream itself.
    if let Ok(reply) = client.send(two).await {
        assert!(!reply.text().contains("evil.example"), "{}", reply.text());
    }
    Ok(())
}
