//! Envoy behind a proxy that terminates TLS, with the settings of `envoy/behind-proxy/berth.yaml`: the proxy's headers
//! name the client's scheme and address.

use berth_harness::client::{RawReply, upgrade_head};
use berth_harness::{Call, Result, Stack, paths, render};
use serde_json::{Value, json};

/// The demonstration, with what the shipped file says about proxies, and with its default of secure cookies.
async fn start(patch: &Value) -> Result<Stack> {
    let file = paths::repository_root().join("envoy/behind-proxy/berth.yaml");
    let shipped = render::read_yaml(&file)?;
    let cookie = json!({"session": {"cookie": {"secure": true}}});
    let login = json!({"login": shipped.get("login").cloned().unwrap_or(Value::Null)});
    let builder = Stack::builder().engines(1).service_config(&login);
    builder
        .service_config(&cookie)
        .service_config(patch)
        .start()
        .await
}

async fn log_in(stack: &Stack, address: &str) -> Result<(u16, Option<String>)> {
    let form = [("username", "demo"), ("password", "demo-password")];
    let form = Call::post_form("/login", &form).headers(&[
        ("host", "app.example.com"),
        ("origin", "https://app.example.com"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-for", address),
    ]);
    let reply = stack.send(form).await?;
    Ok((reply.status, reply.set_cookie("__Host-berth")))
}

#[tokio::test]
async fn the_scheme_of_the_proxy_is_that_of_the_page() -> Result<()> {
    let stack = start(&json!({})).await?;
    let (status, cookie) = log_in(&stack, "192.0.2.1").await?;
    assert_eq!(status, 303);
    let cookie = cookie.ok_or("no cookie")?;
    let upgrade = async |origin: &str, proto: &str| {
        let head = upgrade_head(stack.address(), "/app/sales.qvf", &cookie);
        let own = format!("host: {}\r\n", stack.address());
        let headers = format!(
            "host: app.example.com\r\norigin: {origin}\r\nx-forwarded-proto: {proto}\r\nx-forwarded-for: 192.0.2.1\r\n"
        );
        RawReply::send(stack.address(), &head.replace(&own, &headers)).await
    };
    for proto in ["https", "wss", "https,http", "WSS"] {
        let reply = upgrade("https://app.example.com", proto).await?;
        assert_eq!(reply.status(), 101, "{proto}: {}", reply.text());
    }
    for (origin, proto) in [
        ("https://app.example.com", "ws"),
        ("https://app.example.com", "http"),
        ("http://app.example.com", "wss"),
        ("https://evil.example", "wss"),
    ] {
        let reply = upgrade(origin, proto).await?;
        assert_eq!(reply.status(), 403, "{origin} {proto}");
        assert!(reply.text().contains("\"reason\":\"origin-denied\""));
    }
    Ok(())
}

/// The rate limit applies to the address before the one that Envoy has added.
#[tokio::test]
async fn clients_behind_the_proxy_have_their_own_addresses() -> Result<()> {
    let rate = json!({"login": {"rate": {"per_minute": 1, "burst": 1}}});
    let stack = start(&rate).await?;
    assert_eq!(log_in(&stack, "192.0.2.1").await?.0, 303);
    assert_eq!(log_in(&stack, "192.0.2.1").await?.0, 429);
    assert_eq!(log_in(&stack, "192.0.2.2").await?.0, 303);
    // What a client has sent is before what the proxy adds.
    assert_eq!(log_in(&stack, "192.0.2.3, 192.0.2.2").await?.0, 429);
    Ok(())
}
