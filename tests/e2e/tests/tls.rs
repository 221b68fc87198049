//! The TLS listener, and WebSockets over HTTP/2 (RFC 8441): they are placed, counted and closed like those over
//! HTTP/1.1.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::client::Http2;
use berth_harness::fake_service::{self, FakeResponse};
use berth_harness::{Call, FakeService, Reply, Result, Stack, WebSocket, wait};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const COOKIE: &str = "__Host-berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const LIMIT: Duration = Duration::from_secs(30);

async fn open_socket(client: &mut Http2, cookie: &str) -> Result<WebSocket> {
    let origin = client.origin().to_owned();
    let headers = [("cookie", cookie), ("origin", origin.as_str())];
    let mut socket = client
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_socket()?;
    socket.next_message().await?;
    Ok(socket)
}

async fn log_in(client: &mut Http2) -> Result<Reply> {
    let form = [("username", "demo"), ("password", "demo-password")];
    let origin = client.origin().to_owned();
    let call = Call::post_form("/login", &form).header("origin", &origin);
    client.send(call).await
}

async fn login_cookie(client: &mut Http2) -> Result<String> {
    let reply = log_in(client).await?;
    let cookie = reply.set_cookie("__Host-berth");
    cookie.ok_or_else(|| format!("login: {} {}", reply.status, reply.text()).into())
}

#[tokio::test]
async fn several_websockets_share_one_http2_connection() -> Result<()> {
    let stack = Stack::builder().engines(1).tls().start().await?;
    let mut client = stack.http2().await?;
    let cookie = login_cookie(&mut client).await?;
    let who = client
        .send(Call::get("/api/whoami").cookie(&cookie))
        .await?;
    assert_eq!(
        (who.status, who.json()["account"].as_str()),
        (200, Some("demo"))
    );

    let mut sockets = vec![];
    for _ in 0..20 {
        sockets.push(open_socket(&mut client, &cookie).await?);
    }
    for (number, socket) in sockets.iter_mut().enumerate() {
        let payload = vec![u8::try_from(number)?; 100_000];
        socket.send(Message::binary(payload.clone())).await?;
        assert_eq!(socket.next_message().await?, Message::binary(payload));
    }
    assert_eq!(stack.engines[0].stats().await?.sockets, 20);
    // The engine receives a complete RFC 6455 handshake for each, with its own key.
    let upgrades = stack.engines[0].upgrades().await?;
    let header =
        |index: usize, name: &'static str| -> Vec<&str> { upgrades[index].header(name).collect() };
    assert_eq!(header(0, "sec-websocket-version"), ["13"]);
    let keys = [
        header(0, "sec-websocket-key"),
        header(1, "sec-websocket-key"),
    ];
    assert!(
        keys.iter().all(|key| key.len() == 1 && key[0].len() == 24),
        "{keys:?}"
    );
    assert_ne!(keys[0], keys[1]);
    assert!(header(0, "cookie").is_empty());

    let stat = |name: &'static str| stack.envoy.stat(name);
    assert_eq!(stat("http.http.downstream_cx_http2_total").await?, Some(1));
    assert_eq!(stat("http.http.downstream_cx_http1_total").await?, Some(0));
    drop(sockets);
    let gone = || async { (stack.engines[0].stats().await.ok()?.sockets == 0).then_some(()) };
    wait::poll_until("the engine's sockets are gone", LIMIT, gone).await
}

#[tokio::test]
async fn browsers_learn_to_use_https_only() -> Result<()> {
    let stack = Stack::builder().engines(1).tls().start().await?;
    let mut client = stack.http2().await?;
    let cookie = login_cookie(&mut client).await?;
    let navigate = [("sec-fetch-mode", "navigate")];
    let long_body = vec![b'x'; 1 << 20];
    for (what, status, call) in [
        ("a page", 200, Call::get("/login")),
        ("a page of JSON", 200, Call::get("/session")),
        // The filter's own replies: before and after a call of the service, on every kind of route and on none.
        ("no session", 401, Call::get("/api/whoami")),
        (
            "unknown session",
            440,
            Call::get("/api/whoami").cookie(COOKIE),
        ),
        ("a redirect", 302, Call::get("/app/x").headers(&navigate)),
        (
            "no upgrade",
            426,
            Call::get("/app/sales.qvf").cookie(&cookie),
        ),
        ("no route", 404, Call::get("/nothing")),
        ("a refused path", 400, Call::get("/login/..%2f")),
        // Envoy's own.
        (
            "a long body",
            413,
            Call::new("POST", "/login").body(long_body),
        ),
    ] {
        let reply = client.send(call).await?;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        let header = reply.header("strict-transport-security");
        assert_eq!(header, "max-age=31536000", "{what}: {:?}", reply.headers);
        if status != 302 && status != 413 {
            assert_eq!(reply.header("x-content-type-options"), "nosniff", "{what}");
        }
    }
    Ok(())
}

/// Every `Set-Cookie` of a response.
fn set_cookies(reply: &Reply) -> Vec<&str> {
    let all = reply.headers.get_all("set-cookie").iter();
    all.filter_map(|value| value.to_str().ok()).collect()
}

#[tokio::test]
async fn a_logout_removes_the_cookie_with_the_attributes_of_the_login() -> Result<()> {
    let stack = Stack::builder().engines(1).tls().start().await?;
    let mut client = stack.http2().await?;
    let given = log_in(&mut client).await?;
    let cookie = given.set_cookie("__Host-berth").ok_or("no cookie")?;
    // No Domain, and no Max-Age or Expires.
    let attributes = "Path=/; HttpOnly; SameSite=Lax; Secure";
    let [login, device] = set_cookies(&given)[..] else {
        return Err(format!("not two: {:?}", given.headers).into());
    };
    assert_eq!(login, format!("{cookie}; {attributes}"));
    assert!(device.starts_with("__Secure-berth-device="), "{device}");

    let origin = client.origin().to_owned();
    let call = Call::new("POST", "/logout").cookie(&cookie);
    let out = client.send(call.header("origin", &origin)).await?;
    assert_eq!(out.status, 204, "{}", out.text());
    let cleared = format!("__Host-berth=; {attributes}; Max-Age=0");
    assert_eq!(set_cookies(&out), [cleared]);
    let late = Call::get("/api/whoami").cookie(&cookie);
    let late = client.send(late).await?;
    assert_eq!(
        (late.status, late.reason().as_str()),
        (440, "unknown-session")
    );
    Ok(())
}

#[tokio::test]
async fn rejections_over_http2_are_the_same() -> Result<()> {
    let stack = Stack::builder().engines(1).tls().start().await?;
    let mut client = stack.http2().await?;
    let cookie = login_cookie(&mut client).await?;
    let own = client.origin().to_owned();
    let own = own.as_str();
    let plain = cookie.replace("__Host-", "");
    let evil = "https://evil.example";
    let refused = [
        (own, None, 401, "no-session"),
        (own, Some(COOKIE), 401, "unknown-session"),
        (evil, Some(cookie.as_str()), 403, "origin-denied"),
        // The cookie of plain HTTP is not accepted here.
        (own, Some(plain.as_str()), 401, "no-session"),
    ];
    for (origin, cookie, status, reason) in refused {
        let mut headers = vec![("origin", origin)];
        headers.extend(cookie.map(|cookie| ("cookie", cookie)));
        let upgrade = client.upgrade("/app/sales.qvf", &headers).await?;
        let reply = upgrade.into_rejection()?;
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason));
    }
    assert_eq!(stack.engines[0].stats().await?.sockets, 0);
    // The connection still works.
    open_socket(&mut client, &cookie).await?;
    Ok(())
}

fn end_event(session: &str, reason: &str) -> Value {
    json!({"type": "session-ended", "session_ref": session, "reason": reason})
}

#[tokio::test]
async fn the_end_of_a_session_closes_its_websockets_over_http2_and_keeps_the_connection()
-> Result<()> {
    let fake_service = FakeService::start().await?;
    let stack = Stack::builder()
        .engines(1)
        .tls()
        .fake_service(fake_service)
        .start()
        .await?;
    let mut client = stack.http2().await?;
    let answer = |session: &str| {
        let mut answer = fake_service::placement_body(stack.engines[0].api)?;
        answer["session_ref"] = json!(session);
        stack
            .fake_service()?
            .set_response(FakeResponse::json(200, &answer));
        Ok::<_, berth_harness::Error>(())
    };
    // The server's settings arrive with the first response.
    answer("ref-a")?;
    client.send(Call::get("/none")).await?;
    let mut chatty = open_socket(&mut client, COOKIE).await?;
    let mut silent = open_socket(&mut client, COOKIE).await?;
    answer("ref-b")?;
    let mut other = open_socket(&mut client, COOKIE).await?;
    let event_log = stack.fake_service()?.event_log();
    let opened = || async { (event_log.reported_items("opened").len() == 3).then_some(()) };
    wait::poll_until("three streams are reported", LIMIT, opened).await?;

    event_log.push(end_event("ref-a", "revoked"));
    let code = chatty.send_until_closed(LIMIT).await?;
    assert_eq!(code, Some(4403));
    silent.receive_until_closed().await?;
    other.send(Message::text("{}")).await?;
    other.next_message().await?;
    event_log.push(end_event("ref-b", "expired"));
    assert_eq!(other.send_until_closed(LIMIT).await?, Some(4401));
    // The connection is still open.
    let reply = client.send(Call::get("/api/whoami")).await?;
    assert_eq!(reply.status, 401);
    Ok(())
}

/// An application that trusts a header could trust the trailer of the same name, where both sides support trailers:
/// HTTP/2.
#[tokio::test]
async fn spoofed_trailers_are_removed_and_others_are_forwarded() -> Result<()> {
    let stack = Stack::builder().engines(1).tls().app_http2();
    let stack = stack.start().await?;
    let mut client = stack.http2().await?;
    let cookie = login_cookie(&mut client).await?;
    let mut call = Call::new("POST", "/api/trailers").body("text");
    for name in [
        "x-checksum",
        "authorization",
        "x-berth-account",
        "x-qlik-session",
    ] {
        call = call.trailer(name, "forged");
    }
    // Twice: the first request makes a callout for the token, the second one finds it in the cache.
    for _ in 0..2 {
        let reply = client.send(call.clone().cookie(&cookie)).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let arrived: Value = serde_json::from_str(&reply.text())?;
        assert_eq!(arrived, json!([["x-checksum", "forged"]]));
    }
    Ok(())
}
