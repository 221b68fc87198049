//! Spoofed headers from clients have no effect and reach no upstream.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::client::upgrade_head;
use berth_harness::fake_service::FakeResponse;
use berth_harness::token::Claims;
use berth_harness::{Call, FakeService, Result, Stack};
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SESSION: &str = "11111111-1111-4111-8111-111111111111";

/// Headers that an attacker would send in case they are trusted.
fn spoofed_headers(token: &str, destination: &str) -> Vec<(&'static str, String)> {
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
        ("x-qlik-session", SESSION),
        ("x-forwarded-for", "10.9.8.7"),
    ] {
        all.push((name, value.to_owned()));
    }
    all
}

fn as_str_pairs<'a>(headers: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[tokio::test]
async fn spoofed_headers_grant_no_access() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let token = Claims::for_account("admin").sign()?;
    let headers = spoofed_headers(&token, &stack.engines[0].api.to_string());
    let reply = stack
        .send(Call::get("/api/whoami").headers(&as_str_pairs(&headers)))
        .await?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    let reply = stack
        .upgrade("/app/sales.qvf", &as_str_pairs(&headers))
        .await?
        .into_rejection()?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    assert_eq!(stack.app.requests(), 0);
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn spoofed_headers_with_a_valid_cookie_reach_no_upstream() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let token = Claims::for_account("admin").sign()?;
    // An internal service that an attacker wants to reach (SSRF). It must receive no connection.
    let trap = TcpListener::bind("127.0.0.1:0").await?;
    let headers = spoofed_headers(&token, &trap.local_addr()?.to_string());
    let mut headers = as_str_pairs(&headers);
    headers.push(("cookie", &cookie));

    let reply = stack
        .send(Call::get("/api/whoami").headers(&headers))
        .await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let body = reply.json();
    assert_eq!(body["account"], "demo");
    // The filter itself sets the state of the session.
    let seen = body["headers"].to_string();
    let seen = seen.replace("\"x-berth-session\"", "");
    for name in ["x-berth-", "x-qlik-session", "x-envoy-original-dst-host"] {
        assert!(
            !seen.contains(name),
            "{name} reached the application: {seen}"
        );
    }

    let mut socket = stack
        .upgrade("/app/sales.qvf", &headers)
        .await?
        .into_socket()?;
    socket.next_message().await?;
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
    check_no_connection(&trap).await;
    Ok(())
}

async fn check_no_connection(trap: &TcpListener) {
    let knocked = timeout(Duration::from_millis(100), trap.accept()).await;
    assert!(knocked.is_err(), "the forged destination was reached");
}

#[tokio::test]
async fn bypass_routes_remove_spoofed_headers_too() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let token = Claims::for_account("admin").sign()?;
    let headers = spoofed_headers(&token, "127.0.0.1:1");
    let reply = stack
        .send(Call::get("/session").headers(&as_str_pairs(&headers)))
        .await?;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["anonymous"], true);
    Ok(())
}

/// As [`spoofed_headers`], in spellings that an upstream could read as the same names.
fn misspelled_headers(token: &str, destination: &str) -> Vec<(&'static str, String)> {
    let mut all = vec![("AUTHORIZATION", format!("Bearer {token}"))];
    for (names, value) in [
        (["X-BERTH-Cluster", "x_berth_cluster"], "placement"),
        (["x-Berth-DESTINATION", "X_Berth-Destination"], destination),
        (
            ["X-ENVOY-Original-Dst-Host", "x-envoy_original_dst-host"],
            destination,
        ),
        (["X-QLIK-Session", "x_qlik_session"], SESSION),
    ] {
        all.extend(names.map(|name| (name, value.to_owned())));
    }
    all
}

/// Adds headers to the head of a request with their exact spelling, sends it, and returns the first line of the
/// response.
async fn send_verbatim(
    stack: &Stack,
    head: &str,
    headers: &[(&'static str, String)],
) -> Result<String> {
    let mut stream = TcpStream::connect(stack.address()).await?;
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let text = format!("{}\r\n{lines}\r\n", head.trim_end());
    stream.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    let mut answer = BufReader::new(stream);
    timeout(Duration::from_secs(30), answer.read_line(&mut line)).await??;
    Ok(line)
}

/// Checks that no value of [`misspelled_headers`] is in these headers.
fn check_not_spoofed<'a>(
    headers: impl Iterator<Item = (&'a str, &'a str)>,
    token: &str,
    destination: &str,
) {
    for (name, value) in headers {
        for spoofed in [token, destination, SESSION] {
            assert!(!value.contains(spoofed), "{name} has the client's value");
        }
        assert_ne!(value, "placement", "{name} has the client's value");
    }
}

#[tokio::test]
async fn the_minimal_configuration_trusts_no_spoofed_header() -> Result<()> {
    let stack = Stack::builder().engines(1).minimal().start().await?;
    let cookie = stack.login_demo().await?;
    let token = Claims::for_account("admin").sign()?;
    let trap = TcpListener::bind("127.0.0.1:0").await?;
    let destination = trap.local_addr()?.to_string();
    let headers = misspelled_headers(&token, &destination);

    let nobody = upgrade_head(stack.address(), "/app/sales.qvf", "other=1");
    let line = send_verbatim(&stack, &nobody, &headers).await?;
    assert!(line.starts_with("HTTP/1.1 401 "), "{line}");
    assert_eq!(stack.engines[0].upgrades().await?.len(), 0);

    let demo = upgrade_head(stack.address(), "/app/sales.qvf", &cookie);
    let line = send_verbatim(&stack, &demo, &headers).await?;
    assert!(line.starts_with("HTTP/1.1 101 "), "{line}");
    let upgrades = stack.engines[0].upgrades().await?;
    assert_eq!(upgrades.len(), 2, "prepared, then opened");
    for upgrade in &upgrades {
        let pairs = upgrade.headers.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        check_not_spoofed(pairs, &token, &destination);
        for name in ["authorization", "x-qlik-session"] {
            let alike =
                |(have, _): &&(String, String)| have.replace('_', "-").eq_ignore_ascii_case(name);
            assert_eq!(upgrade.headers.iter().filter(alike).count(), 1, "{name}");
        }
    }
    check_no_connection(&trap).await;
    Ok(())
}

#[tokio::test]
async fn the_minimal_configuration_removes_spoofed_headers_on_bypass_routes() -> Result<()> {
    let stand_in = FakeService::start().await?;
    stand_in.set_response(FakeResponse::json(200, &json!({})));
    let builder = Stack::builder().engines(1).minimal().fake_service(stand_in);
    let stack = builder.start().await?;
    let token = Claims::for_account("admin").sign()?;
    let destination = "127.0.0.1:1";
    let head = format!("GET /login HTTP/1.1\r\nhost: {}\r\n", stack.address());
    let headers = misspelled_headers(&token, destination);
    let line = send_verbatim(&stack, &head, &headers).await?;
    assert!(line.starts_with("HTTP/1.1 200 "), "{line}");
    let asked = stack.fake_service()?.requests();
    let login = asked.iter().find(|asked| asked.path == "/login");
    let pairs = login.ok_or("nothing came")?.headers.iter();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
    check_not_spoofed(pairs, &token, destination);
    Ok(())
}

#[tokio::test]
async fn the_minimal_configuration_forwards_the_clients_address() -> Result<()> {
    let stand_in = FakeService::start().await?;
    stand_in.set_response(FakeResponse::json(200, &json!({})));
    let builder = Stack::builder().engines(1).minimal().fake_service(stand_in);
    let stack = builder.start().await?;
    let forged = [
        ("x-forwarded-for", "10.9.8.7"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=10.9.8.7"),
        ("x-envoy-external-address", "10.9.8.7"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
        ("x-envoy-retry-on", "5xx"),
        ("x-envoy-original-path", "/"),
    ];
    assert_eq!(
        stack
            .send(Call::get("/login").headers(&forged))
            .await?
            .status,
        200
    );
    let asked = stack.fake_service()?.requests();
    let headers = &asked.first().ok_or("nothing came")?.headers;
    let has = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    // For a client on loopback, Envoy reports an address of the machine.
    assert_eq!(has("x-forwarded-for").len(), 1, "{headers:?}");
    assert_eq!(has("x-forwarded-proto"), ["http"]);
    for (name, value) in forged {
        assert!(
            has(name).iter().all(|have| have != value),
            "{name}: {headers:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn the_minimal_configuration_limits_logins_by_connection_address() -> Result<()> {
    let rate = json!({"login": {"rate": {"per_minute": 1, "burst": 3}}});
    let builder = Stack::builder().engines(1).minimal().service_config(&rate);
    let stack = builder.start().await?;
    let origin = format!("http://{}", stack.address());
    let mut statuses = vec![];
    for client in 1..=5 {
        let form = Call::post_form("/login", &[("username", "demo"), ("password", "wrong")]);
        let form = form.header("origin", &origin);
        let form = form.header("x-forwarded-for", &format!("10.0.0.{client}"));
        statuses.push(stack.send(form).await?.status);
    }
    assert_eq!(statuses[3..], [429, 429], "{statuses:?}");
    Ok(())
}
