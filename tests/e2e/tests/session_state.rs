//! The session state that an application receives (`x-berth-session`), and what a route does when the
//! session has ended (`on_login_timeout`).

use berth_harness::{Call, Result, Stack};
use serde_json::json;

const UNKNOWN: &str = "berth=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");

async fn start() -> Result<Stack> {
    let route = |prefix: &str, timeout: Option<&str>| json!({"prefix": prefix, "action": "authenticate", "anonymous": "allow", "on_login_timeout": timeout});
    let routes = [
        route("/api/", None),
        route("/refuse/", Some("refuse")),
        route("/login-page/", Some("login")),
        route("/anonymous/", Some("anonymous")),
    ];
    let app = json!({"name": "app", "addresses": ["127.0.0.1:1"], "routes": routes});
    let config = json!({"edge": {"applications": [app]}});
    let builder = Stack::builder().engines(1).service_config(&config);
    builder.start().await
}

/// The session states that the application received.
async fn received_states(stack: &Stack, call: Call) -> Result<Vec<String>> {
    let reply = stack.send(call.header("x-berth-session", "forged")).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let headers: Vec<(String, String)> = serde_json::from_value(reply.json())?;
    let states = headers.into_iter();
    let states = states.filter(|(name, _)| name.starts_with("x-berth-"));
    Ok(states
        .map(|(name, value)| format!("{name}: {value}"))
        .collect())
}

#[tokio::test]
async fn an_application_receives_the_state_of_the_session() -> Result<()> {
    let stack = start().await?;
    let cookie = stack.login_demo().await?;
    let call = || Call::get("/api/headers");
    // Twice: the first request calls the service, the second one finds the token in the cache.
    for _ in 0..2 {
        assert_eq!(
            received_states(&stack, call().cookie(&cookie)).await?,
            ["x-berth-session: live"]
        );
    }
    assert_eq!(
        received_states(&stack, call().cookie(UNKNOWN)).await?,
        ["x-berth-session: expired"]
    );
    assert_eq!(
        received_states(&stack, call()).await?,
        ["x-berth-session: none"]
    );
    Ok(())
}

#[tokio::test]
async fn a_route_decides_what_happens_when_a_session_is_over() -> Result<()> {
    let stack = start().await?;
    for (path, page, script) in [
        ("/refuse/a", "440 ", "440 "),
        (
            "/login-page/a",
            "302 /login?return_to=%2Flogin-page%2Fa",
            "440 ",
        ),
        // It reaches the application, which has nothing at this path.
        ("/anonymous/a", "404 ", "404 "),
    ] {
        for (call, expected) in [
            (Call::get(path).headers(&[NAVIGATE]), page),
            (Call::get(path), script),
        ] {
            let reply = stack.send(call.cookie(UNKNOWN)).await?;
            let got = format!("{} {}", reply.status, reply.header("location"));
            assert_eq!(got, expected, "{path}");
            let sets = reply.set_cookie("berth-anon").is_some();
            assert_eq!(sets, reply.status == 440, "{path}");
            let reason = if reply.status == 440 {
                "unknown-session"
            } else {
                ""
            };
            assert_eq!(reply.reason(), reason);
        }
        // Without a cookie there is no login timeout.
        assert_eq!(stack.send(Call::get(path)).await?.status, 404, "{path}");
    }
    assert_eq!(stack.app.requests(), 5);
    Ok(())
}

#[tokio::test]
async fn a_browser_that_logs_in_for_a_websocket_path_ends_on_a_page() -> Result<()> {
    let stack = start().await?;
    let page = Call::get("/app/sales.qvf").headers(&[NAVIGATE]);
    let reply = stack.send(page).await?;
    assert_eq!((reply.status, reply.header("location")), (302, "/login"));
    let form = [("username", "demo"), ("password", "demo-password")];
    let origin = format!("http://{}", stack.address());
    let login = Call::post_form("/login", &form).header("origin", &origin);
    let reply = stack.send(login).await?;
    assert_eq!((reply.status, reply.header("location")), (303, "/"));
    let cookie = reply.set_cookie("berth").ok_or("no cookie")?;
    for (path, status, text) in [
        ("/", 200, "<title>"),
        // Also a user who opens it once more.
        (
            "/app/sales.qvf",
            426,
            "<h1>Only WebSockets are served here</h1>",
        ),
        ("/nothing", 404, "<h1>There is nothing at this path</h1>"),
    ] {
        let page = Call::get(path).headers(&[NAVIGATE]).cookie(&cookie);
        let page = stack.send(page).await?;
        assert_eq!(page.status, status, "{path}");
        assert!(
            page.header("content-type").starts_with("text/html"),
            "{path}"
        );
        assert!(page.text().contains(text), "{path}: {}", page.text());
    }
    let program = Call::get("/app/sales.qvf").cookie(&cookie);
    let reply = stack.send(program).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (426, "upgrade-required")
    );
    Ok(())
}
