//! Forged headers from outside change nothing and reach nobody.

use berth_harness::token::Claims;
use berth_harness::{Call, Result, Stack};
use tokio::net::TcpListener;

/// What an attacker would send, were these headers believed.
fn forged(token: &str, destination: &str) -> Vec<(&'static str, String)> {
    let bearer = format!("Bearer {token}");
    let mut all = vec![("authorization", bearer)];
    for name in [
        "x-berth-destination",
        "X-Berth-Destination",
        "x-envoy-original-dst-host",
    ] {
        all.push((name, destination.to_owned()));
    }
    for (name, value) in [
        ("x-berth-cluster", "placement"),
        ("x-berth-account", "admin"),
        ("x-berth-anything", "admin"),
        ("x-qlik-session", "11111111-1111-4111-8111-111111111111"),
        ("x-forwarded-for", "10.9.8.7"),
    ] {
        all.push((name, value.to_owned()));
    }
    all
}

fn borrowed<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[tokio::test]
async fn forged_headers_buy_no_entry() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let token = Claims::of("admin").sign()?;
    let headers = forged(&token, &stack.engines[0].api.to_string());
    let reply = stack
        .send(Call::get("/api/whoami").headers(&borrowed(&headers)))
        .await?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    let reply = stack
        .upgrade("/app/sales.qvf", &borrowed(&headers))
        .await?
        .refused()?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    assert_eq!(stack.app.requests(), 0);
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn forged_headers_beside_a_good_cookie_reach_nobody() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let token = Claims::of("admin").sign()?;
    // An internal service that an attacker would like to reach (SSRF): nobody may knock here.
    let trap = TcpListener::bind("127.0.0.1:0").await?;
    let headers = forged(&token, &trap.local_addr()?.to_string());
    let mut headers = borrowed(&headers);
    headers.push(("cookie", &cookie));

    let reply = stack
        .send(Call::get("/api/whoami").headers(&headers))
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["account"], "demo");
    let seen = body["headers"].to_string();
    for name in ["x-berth-", "x-qlik-session", "x-envoy-original-dst-host"] {
        assert!(
            !seen.contains(name),
            "{name} reached the application: {seen}"
        );
    }

    let mut socket = stack.upgrade("/app/sales.qvf", &headers).await?.open()?;
    socket.next().await?;
    let upgrades = stack.engines[0].upgrades().await?;
    let client = upgrades.last().ok_or("no upgrade")?;
    for (name, value) in &client.headers {
        assert!(!value.contains(&token), "{name} carries the forged token");
        assert!(
            !value.contains("11111111-1111"),
            "{name} carries the forged session"
        );
        assert_ne!(value, "admin", "{name} is the forged one");
        assert_ne!(name.to_ascii_lowercase(), "x-envoy-original-dst-host");
    }
    assert_eq!(client.header("authorization").count(), 1);
    assert_eq!(client.header("x-qlik-session").count(), 1);
    let knocked = tokio::time::timeout(std::time::Duration::from_millis(100), trap.accept()).await;
    assert!(knocked.is_err(), "the forged destination was reached");
    Ok(())
}

#[tokio::test]
async fn bypass_routes_are_cleaned_too() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let token = Claims::of("admin").sign()?;
    let headers = forged(&token, "127.0.0.1:1");
    let reply = stack
        .send(Call::get("/session").headers(&borrowed(&headers)))
        .await?;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["anonymous"], true);
    Ok(())
}
