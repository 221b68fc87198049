//! Envoy's own configuration: hardening that works without the filter, and changes of the filter's configuration while
//! sockets stay open.

use berth_harness::envoy::{self, Envoy, Wiring};
use berth_harness::token::Claims;
use berth_harness::{Call, Result, Stack, render, wait};
use serde_json::json;
use std::fs;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn malformed_requests_are_rejected_by_the_listener() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    for (what, call) in [
        (
            "an underscore",
            Call::get("/session").header("x_berth_account", "admin"),
        ),
        (
            "a huge header",
            Call::get("/session").header("x-huge", &"a".repeat(60_000)),
        ),
    ] {
        let reply = stack.send(call.cookie(&cookie)).await?;
        assert!(
            matches!(reply.status, 400 | 431),
            "{what}: {}",
            reply.status
        );
    }
    let reply = stack.send(Call::get("/session")).await?;
    assert_eq!(reply.header("server"), "berth");
    let internal_headers = reply
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-envoy-"))
        .count();
    assert_eq!(internal_headers, 0, "{:?}", reply.headers);
    Ok(())
}

#[tokio::test]
async fn the_listener_removes_spoofed_headers_even_without_the_filter() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let wiring = Wiring {
        http: 0,
        admin: 0,
        service: 1,
        app: stack.app.addr.port(),
        certificate: None,
        module: None,
        all_capabilities: false,
        service_config: None,
    };
    let mut config = envoy::render(&wiring, &json!({}), &stack.dir)?;
    let filters =
        "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters";
    let filters = config
        .pointer_mut(filters)
        .and_then(|list| list.as_array_mut());
    filters
        .ok_or("no HTTP filters")?
        .retain(|filter| filter["name"] != "berth");
    let bare = Envoy::start("bare", &config, 1, &stack.dir).await?;
    let token = format!("Bearer {}", Claims::for_account("demo").sign()?);
    let call = Call::get("/api/whoami").headers(&[
        ("authorization", &token),
        ("x-berth-account", "admin"),
        ("X-Berth-Destination", "127.0.0.1:1"),
        ("x-envoy-original-dst-host", "127.0.0.1:1"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-qlik-session", "1"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-for", "10.9.8.7"),
        ("forwarded", "for=10.9.8.7"),
        ("x-mine", "1"),
    ]);
    let reply = call.send(bare.http).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut seen: Vec<String> = serde_json::from_value(reply.json()["headers"].clone())?;
    seen.sort();
    let expected = [
        "authorization",
        "host",
        "x-envoy-external-address",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-mine",
        "x-request-id",
    ];
    seen.retain(|name| !matches!(name.as_str(), "content-length"));
    assert_eq!(seen, expected);
    Ok(())
}

#[tokio::test]
async fn a_change_of_the_filters_configuration_closes_no_socket() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let mut socket = stack.open_socket("/app/sales.qvf", &cookie).await?;

    let file = stack.dir.join("filter.json");
    let mut resource = render::read_yaml(&file)?;
    resource["version_info"] = "2".into();
    let settings = resource.pointer_mut("/resources/0/typed_config/config/configuration/value");
    render::merge(settings.ok_or("no settings")?, &json!({"cookie": "other"}));
    let new = stack.dir.join("filter.new");
    render::write(&new, &resource)?;
    fs::rename(new, file)?;

    let other = cookie.replace("berth=", "other=");
    let (stack, other) = (&stack, &other);
    let changed = || async move {
        let reply = stack
            .send(Call::get("/api/whoami").cookie(other))
            .await
            .ok()?;
        (reply.status == 200).then_some(())
    };
    wait::poll_until("the new settings", Duration::from_secs(15), changed).await?;
    let old = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
    assert_eq!((old.status, old.reason().as_str()), (401, "no-session"));

    socket.send(Message::binary(b"still here".to_vec())).await?;
    assert_eq!(
        socket.next_message().await?,
        Message::binary(b"still here".to_vec())
    );
    Ok(())
}
