//! Every rejection that a client can receive through the real Envoy: its status, its reason, and that no request
//! reached an engine or the application.

use berth_harness::{Call, Result, Stack, wait};
use serde_json::json;
use std::time::Duration;

const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
const UNKNOWN: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn check_upstreams_untouched(stack: &Stack) -> Result<()> {
    assert_eq!(stack.app.requests(), 0, "the application was reached");
    for engine in &stack.engines {
        assert_eq!(
            engine.upgrades().await?.len(),
            0,
            "{} was reached",
            engine.name
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_rejection_without_a_session_fits_the_kind_of_client() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    for (cookie, api, reason) in [
        ("other=1", 401, "no-session"),
        (UNKNOWN, 440, "unknown-session"),
    ] {
        let reply = stack.send(Call::get("/api/whoami").cookie(cookie)).await?;
        assert_eq!((reply.status, reply.reason().as_str()), (api, reason));
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(
            reply.set_cookie("berth").is_none(),
            "a rejection set the login cookie"
        );
        assert_eq!(reply.set_cookie("berth-anon").is_some(), api == 440);

        let page = Call::get("/doc/session-doc?x=1&y=2")
            .cookie(cookie)
            .header(NAVIGATE.0, NAVIGATE.1);
        let reply = stack.send(page).await?;
        assert_eq!(reply.status, 302);
        let to = reply.header("location");
        // There is no page to return to at a path of WebSockets.
        assert_eq!(to, "/login");

        for path in ["/app/sales.qvf", "/doc/session-doc"] {
            let headers = [("cookie", cookie), NAVIGATE, ("accept", "text/html")];
            let reply = stack.upgrade(path, &headers).await?.into_rejection()?;
            assert_eq!(
                (reply.status, reply.reason().as_str()),
                (401, reason),
                "{path}"
            );
            assert!(reply.headers.get("set-cookie").is_none(), "{path}");
            assert!(reply.headers.get("location").is_none(), "{path}");
        }
    }
    check_upstreams_untouched(&stack).await
}

/// Calls of gateways that the service has answered, as HTTP requests or on the call stream.
async fn answered_calls(stack: &Stack) -> Result<u64> {
    let service = stack.service.as_ref().ok_or("no service")?;
    let text = Call::get("/metrics").send(service.addr).await?.text();
    let routes = ["/v1/tokens", "/v1/placements"];
    let names = routes.map(|route| format!("berth_http_requests_total{{route=\"{route}\","));
    let lines = text
        .lines()
        .filter(|line| names.iter().any(|name| line.starts_with(name)));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

#[tokio::test]
async fn a_request_without_a_login_cookie_makes_no_callout() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let reply = stack.send(Call::get("/api/whoami")).await?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    let others = Call::get("/api/whoami").cookie("other=1");
    assert_eq!(stack.send(others).await?.reason(), "no-session");
    let page = Call::get("/doc/session-doc").header(NAVIGATE.0, NAVIGATE.1);
    assert_eq!(stack.send(page).await?.status, 302);
    let reply = stack
        .upgrade("/app/sales.qvf", &[])
        .await?
        .into_rejection()?;
    assert_eq!((reply.status, reply.reason().as_str()), (401, "no-session"));
    // A cookie that could name a session causes a call; it is the first and only one.
    let unknown = Call::get("/api/whoami").cookie(UNKNOWN);
    assert_eq!(stack.send(unknown).await?.reason(), "unknown-session");
    let counted = || async { answered_calls(&stack).await.ok().filter(|calls| *calls > 0) };
    let calls = wait::poll_until("the call is counted", Duration::from_secs(15), counted).await?;
    assert_eq!(calls, 1);
    check_upstreams_untouched(&stack).await
}

#[tokio::test]
async fn malformed_requests_are_rejected_with_their_reason() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let long = format!("berth={}", "a".repeat(129));
    for (cookie, reason) in [
        ("berth=a; berth=b", "cookie-duplicate"),
        (long.as_str(), "cookie-too-long"),
        ("berth=a b", "cookie-malformed"),
    ] {
        let reply = stack.send(Call::get("/api/whoami").cookie(cookie)).await?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (400, reason),
            "{cookie}"
        );
        let reply = stack
            .upgrade("/app/sales.qvf", &[("cookie", cookie)])
            .await?
            .into_rejection()?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (400, reason),
            "{cookie}"
        );
    }
    let twice = Call::get("/api/whoami").cookie("berth=a").cookie("berth=b");
    assert_eq!(stack.send(twice).await?.reason(), "cookie-duplicate");
    check_upstreams_untouched(&stack).await
}

#[tokio::test]
async fn paths_without_a_route_are_404_and_the_service_is_not_exposed() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    for path in [
        "/nowhere",
        "/apix",
        "/v1/placements",
        "/v1/tokens",
        "/metrics",
        "/health/ready",
        "//v1/tokens",
        "/login/../v1/tokens",
    ] {
        let reply = stack.send(Call::get(path).cookie(&cookie)).await?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (404, "no-route"),
            "{path}"
        );
    }
    let reply = stack
        .send(Call::get("/app/%2e%2e%2fv1/tokens").cookie(&cookie))
        .await?;
    assert_eq!(reply.status, 400);
    check_upstreams_untouched(&stack).await
}

#[tokio::test]
async fn a_cross_origin_upgrade_is_rejected() -> Result<()> {
    let allowed = json!({"origins": ["https://partner.example"]});
    let stack = Stack::builder()
        .engines(1)
        .filter_config(&allowed)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    for origin in ["https://evil.example", "null", "http://127.0.0.1:1"] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        let reply = stack
            .upgrade("/app/sales.qvf", &headers)
            .await?
            .into_rejection()?;
        assert_eq!(
            (reply.status, reply.reason().as_str()),
            (403, "origin-denied"),
            "{origin}"
        );
    }
    check_upstreams_untouched(&stack).await?;
    let own = format!("http://{}", stack.address());
    for origin in ["https://partner.example", own.as_str()] {
        let headers = [("cookie", cookie.as_str()), ("origin", origin)];
        stack
            .upgrade("/app/sales.qvf", &headers)
            .await?
            .into_socket()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_failed_placement_is_rejected_with_its_reason() -> Result<()> {
    let one = json!({"capacity": {"per_engine": 1}});
    let mut stack = Stack::builder().engines(1).pool(&one).start().await?;
    let cookie = stack.login_demo().await?;
    let cookie = [("cookie", cookie.as_str())];

    let reply = stack
        .upgrade("/app/missing.qvf", &cookie)
        .await?
        .into_rejection()?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (404, "no-such-document")
    );

    let _held = stack
        .upgrade("/app/sales.qvf", &cookie)
        .await?
        .into_socket()?;
    let reply = stack
        .upgrade("/app/sales.qvf", &cookie)
        .await?
        .into_rejection()?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (503, "engines-full")
    );
    assert!(!reply.header("retry-after").is_empty());

    stack.engines[0].kill();
    let gone = || async {
        let reply = stack
            .upgrade("/app/sales.qvf", &cookie)
            .await
            .ok()?
            .into_rejection()
            .ok()?;
        (reply.status == 503 && reply.reason() == "no-engine").then_some(())
    };
    wait::poll_until("no-engine", Duration::from_secs(15), gone).await
}

#[tokio::test]
async fn a_plain_request_on_a_placement_route_is_rejected() -> Result<()> {
    let stack = Stack::builder().engines(1).start().await?;
    let cookie = stack.login_demo().await?;
    let reply = stack
        .send(Call::get("/app/sales.qvf").cookie(&cookie))
        .await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (426, "upgrade-required")
    );
    check_upstreams_untouched(&stack).await
}
