//! The core flow through the real Envoy: a login cookie becomes a JWT and a placement on an engine.

use berth_harness::client::GLOBAL;
use berth_harness::{Call, Result, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn all_three_routes_open_a_prepared_session() -> Result<()> {
    let stack = Stack::builder().start().await?;
    let cookie = stack.login_demo().await?;
    for (path, title) in [
        ("/app/sales.qvf", "sales.qvf"),
        ("/doc/doc/drugcases.qvf", "drugcases.qvf"),
        ("/doc/session-doc", ""),
    ] {
        let mut qix = stack.open_qix(path, &cookie).await?;
        assert_eq!(qix.session_state, "SESSION_ATTACHED", "{path}");
        let version = qix.call(GLOBAL, "EngineVersion", json!([])).await?;
        assert!(
            version.pointer("/qVersion/qComponentVersion").is_some(),
            "{version}"
        );
        let doc = qix.call(GLOBAL, "GetActiveDoc", json!([])).await?;
        let handle = doc.pointer("/qReturn/qHandle").and_then(Value::as_i64);
        let handle = handle.ok_or_else(|| format!("{path}: no active document: {doc}"))?;
        let layout = qix.call(handle, "GetAppLayout", json!([])).await?;
        let name = layout.pointer("/qLayout/qFileName").and_then(Value::as_str);
        assert!(
            name.unwrap_or_default().ends_with(title),
            "{path}: {layout}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_app_sees_the_account_and_never_the_login_cookie() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let call = Call::get("/api/whoami").cookie(&format!("theme=dark; {cookie}; lang=en"));
    let reply = stack.send(call).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["account"], "demo");
    assert_eq!(body["roles"], json!(["user"]));
    assert_eq!(body["cookies"], json!(["theme=dark; lang=en"]));
    assert!(!reply.text().contains("eyJ"), "a JWT reached the client");
    Ok(())
}

#[tokio::test]
async fn only_the_login_cookie_is_removed_from_several_cookie_headers() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let headers = [
        ("cookie", "a=1"),
        ("cookie", cookie.as_str()),
        ("cookie", "b=2"),
    ];
    let mut socket = stack
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_socket()?;
    socket.next_message().await?;
    let upgrades = stack.engines[0].upgrades().await?;
    let client = upgrades.last().ok_or("no upgrade")?;
    let cookies = client.header("cookie").collect::<Vec<_>>().join("; ");
    assert_eq!(cookies, "a=1; b=2");
    Ok(())
}

#[tokio::test]
async fn the_engine_receives_the_jwt_the_session_and_the_ttl() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let qix = stack
        .open_qix("/app/sales.qvf?berth_tab=t1", &cookie)
        .await?;
    let upgrades = stack.engines[0].upgrades().await?;
    let [prepare, client] = upgrades.as_slice() else {
        return Err(format!("expected two upgrades: {upgrades:?}").into());
    };
    assert!(prepare.path.ends_with("/ttl/10"), "{}", prepare.path);
    assert!(client.path.ends_with("/ttl/60"), "{}", client.path);
    let prepared: Vec<&str> = prepare.header("x-qlik-session").collect();
    let taken: Vec<&str> = client.header("x-qlik-session").collect();
    assert_eq!(prepared.len(), 1);
    assert_eq!(prepared, taken);
    assert_eq!(client.header("authorization").count(), 1);
    assert!(
        client
            .header("authorization")
            .all(|v| v.starts_with("Bearer eyJ"))
    );
    assert_eq!(client.header("cookie").count(), 0);
    drop(qix);
    Ok(())
}

#[tokio::test]
async fn sessions_in_quick_succession_spread_evenly() -> Result<()> {
    let stack = Stack::builder().engines(4).start().await?;
    let cookie = stack.login_demo().await?;
    let mut open = vec![];
    for _ in 0..100 {
        open.push(stack.open_qix("/app/sales.qvf", &cookie).await?);
    }
    for engine in &stack.engines {
        let sessions = engine.stats().await?.sessions;
        assert!(
            (20..=30).contains(&sessions),
            "{}: {sessions} of 100",
            engine.name
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_session_status_lists_the_engine_of_each_tab() -> Result<()> {
    let stack = Stack::builder().engines(2).start().await?;
    let cookie = stack.login_demo().await?;
    let _one = stack
        .open_qix("/app/sales.qvf?berth_tab=one", &cookie)
        .await?;
    let _two = stack
        .open_qix("/app/sales.qvf?berth_tab=two", &cookie)
        .await?;
    let reply = stack
        .send(Call::get("/session/placements").cookie(&cookie))
        .await?;
    let body = reply.json();
    let text = body.to_string();
    assert!(
        text.contains("\"one\"") && text.contains("\"two\""),
        "{text}"
    );
    assert!(
        text.contains("engine-0") && text.contains("engine-1"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
async fn a_prepared_session_that_is_not_used_expires() -> Result<()> {
    let mut stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let session = cookie.trim_start_matches("berth=");
    let request =
        json!({"session": session, "method": "GET", "path": "/app/sales.qvf", "host": "localhost"});
    let service = stack.service()?.addr;
    let reply = Call::post_json("/v1/placements", &request)
        .send(service)
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let engine = &stack.engines[0];
    assert_eq!(engine.stats().await?.sessions, 1);
    let gone = || async { (engine.stats().await.ok()?.sessions == 0).then_some(()) };
    wait::poll_until("the untaken session to end", Duration::from_secs(15), gone).await
}

#[tokio::test]
async fn a_logout_ends_the_session_on_the_server() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let origin = format!("http://{}", stack.address());
    let who = Call::get("/api/whoami").cookie(&cookie);
    assert_eq!(stack.send(who.clone()).await?.status, 200);
    let logout = Call::new("POST", "/logout")
        .cookie(&cookie)
        .header("origin", &origin);
    let reply = stack.send(logout).await?;
    assert!(matches!(reply.status, 204 | 303), "{}", reply.status);
    assert!(reply.set_cookie("berth").is_some_and(|c| c == "berth="));
    assert!(!reply.header("clear-site-data").is_empty());
    let reply = stack.send(who).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (440, "unknown-session")
    );
    let reply = stack
        .upgrade("/app/sales.qvf", &[("cookie", &cookie)])
        .await?
        .into_rejection()?;
    assert_eq!(reply.status, 401);
    Ok(())
}
