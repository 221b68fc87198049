//! Plain requests to the engine of their key through Envoy: where they go, what reaches the engine and the client, and how
//! they end.

mod lab;

use berth_harness::client::Http2;
use berth_harness::{Call, HttpEngine, Result, wait};
use lab::{LIMIT, read_until, routes, start_lab, start_lab_with};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn all_requests_of_a_key_reach_one_engine_with_the_identity_of_the_session() -> Result<()> {
    let lab = start_lab().await?;
    let engine = lab.warm_up("/jup/api/kernels?a=%20b").await?;
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
        let call = Call::new(method, "/jup/api/kernels?a=%20b").cookie(&lab.cookie);
        let reply = lab
            .stack
            .send(call.header("x-forwarded-user", "root"))
            .await?;
        let arrived = reply.json();
        assert_eq!(
            (reply.status, &arrived["engine"]),
            (200, &json!(engine)),
            "{method}"
        );
        assert_eq!(arrived["method"], method);
        assert_eq!(arrived["path"], "/api/kernels?a=%20b");
        let headers = &arrived["headers"];
        assert_eq!(headers["x-forwarded-user"], "demo");
        assert!(
            headers["authorization"]
                .as_str()
                .is_some_and(|value| value.starts_with("Bearer "))
        );
        for absent in ["cookie", "x-berth-destination", "x-berth-cluster"] {
            assert!(headers.get(absent).is_none(), "{absent}: {headers}");
        }
    }
    let head = lab
        .stack
        .send(Call::new("HEAD", "/jup/api").cookie(&lab.cookie))
        .await?;
    assert_eq!((head.status, head.text()), (200, String::new()));
    // Each worker has a cache of its own, and counts are sent with its ticks.
    let hits = || async {
        lab.get("/jup/a").await.ok()?;
        (lab.hits().await.ok()? >= 6).then_some(())
    };
    wait::poll_until("answers of the cache", LIMIT, hits).await?;
    // The path of the engine may be one of another route.
    for path in ["/login", "/session", "/api/whoami"] {
        let reply = lab.get(&format!("/jup{path}")).await?.json();
        assert_eq!(
            (&reply["engine"], &reply["path"]),
            (&json!(engine), &json!(path))
        );
    }
    // Another login of the account has the same key.
    let other = lab.stack.login_demo().await?;
    let reply = lab.stack.send(Call::get("/jup/x").cookie(&other)).await?;
    assert_eq!(reply.json()["engine"], engine.as_str());
    // Other keys spread over the engines.
    let mut engines = BTreeSet::new();
    for room in 0..8 {
        let path = format!("/rooms/{room}/a");
        let first = lab.get(&path).await?.json();
        assert_eq!(lab.get(&path).await?.json()["engine"], first["engine"]);
        assert_eq!(first["path"], path);
        engines.insert(first["engine"].to_string());
    }
    assert_eq!(engines.len(), 2);
    Ok(())
}

#[tokio::test]
async fn a_host_of_its_own_has_the_login_and_its_engines() -> Result<()> {
    let own = json!([{"path": "/{rest}", "host": "lab.example.com", "pool": "lab", "http": "allow",
        "affinity": {"key": "account"}}]);
    let lab = start_lab_with(own, |builder| builder).await?;
    let send = |path: &str, cookie: &str| {
        let call = Call::get(path)
            .header("host", "lab.example.com")
            .cookie(cookie);
        lab.stack.send(call)
    };
    let reply = send("/notes", &lab.cookie).await?;
    assert_eq!(
        (reply.status, reply.json()["path"].as_str()),
        (200, Some("/notes"))
    );
    let login = send("/login", "a=1").await?;
    assert_eq!(
        (login.status, login.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let elsewhere = lab.get("/notes").await?;
    assert_eq!(elsewhere.reason(), "no-route");
    Ok(())
}

#[tokio::test]
async fn pages_of_other_origins_change_nothing_and_learn_whether_they_may() -> Result<()> {
    let lab = start_lab().await?;
    let evil = "https://evil.example.com";
    let portal = "https://portal.example.com";
    let post = |origin: &str| {
        Call::new("POST", "/jup/a")
            .cookie(&lab.cookie)
            .header("origin", origin)
    };
    let preflight = |origin: &str| {
        let call = Call::new("OPTIONS", "/jup/a").header("origin", origin);
        call.header("access-control-request-method", "PUT")
    };
    let denied = lab.stack.send(post(evil)).await?;
    assert_eq!(
        (denied.status, denied.reason()),
        (403, "origin-denied".to_owned())
    );
    assert_eq!(lab.stack.send(preflight(evil)).await?.status, 403);
    assert_eq!(lab.engines.iter().map(HttpEngine::requests).sum::<u64>(), 0);
    let allowed = lab.stack.send(preflight(portal)).await?;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.header("access-control-allow-origin"), portal);
    assert_eq!(allowed.header("access-control-allow-methods"), "PUT");
    assert_eq!(lab.engines.iter().map(HttpEngine::requests).sum::<u64>(), 0);
    assert_eq!(lab.stack.send(post(portal)).await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn routes_without_plain_requests_refuse_them() -> Result<()> {
    let lab = start_lab().await?;
    let reply = lab.get("/ws/a").await?;
    assert_eq!(
        (reply.status, reply.reason()),
        (426, "upgrade-required".to_owned())
    );
    Ok(())
}

#[tokio::test]
async fn an_engine_cannot_set_the_login_cookie() -> Result<()> {
    let lab = start_lab().await?;
    let reply = lab.get("/jup/cookies").await?;
    assert_eq!((reply.status, reply.header("x-plain")), (200, "1"));
    assert_eq!(reply.set_cookie("berth"), None);
    for name in ["a", "b"] {
        assert!(reply.set_cookie(name).is_some(), "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn a_response_that_runs_on_ends_with_the_session() -> Result<()> {
    let lab = start_lab().await?;
    lab.warm_up("/jup/a").await?;
    let mut events = lab.open("GET /jup/events").await?;
    events.write_all(b"\r\n").await?;
    read_until(&mut events, " 3\n").await?;
    let logout = Call::new("POST", "/logout").cookie(&lab.cookie);
    assert!(lab.stack.send(logout).await?.status < 400);
    let mut rest = Vec::new();
    let end = tokio::time::timeout(LIMIT, events.read_to_end(&mut rest)).await?;
    // A reset or an end: the last chunk of the body does not come.
    assert!(end.is_err() || !String::from_utf8_lossy(&rest).ends_with("0\r\n\r\n"));
    let refused = || async {
        let reply = lab.get("/jup/a").await.ok()?;
        (reply.status != 200).then_some(reply.status)
    };
    assert_eq!(wait::poll_until("a refusal", LIMIT, refused).await?, 440);
    Ok(())
}

#[tokio::test]
async fn a_slow_upload_outlasts_the_limits_of_other_requests() -> Result<()> {
    // The limits of requests to the service, scaled down.
    let lab = start_lab_with(routes(), |builder| {
        builder.envoy_text("60s", "1s").envoy_text("75s", "1s")
    })
    .await?;
    lab.warm_up("/jup/a").await?;
    let mut upload = lab.open("POST /jup/upload").await?;
    upload
        .write_all(b"transfer-encoding: chunked\r\nexpect: 100-continue\r\ntrailer: x-sum\r\n\r\n")
        .await?;
    read_until(&mut upload, "100 Continue").await?;
    let mut login = TcpStream::connect(lab.stack.address()).await?;
    login
        .write_all(b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n")
        .await?;
    // The upload goes on for as long as the login takes to be ended by its limit, and a moment longer.
    let ended = tokio::spawn(async move { read_until(&mut login, " 408 ").await });
    let mut chunks = 0;
    while !ended.is_finished() || chunks < 30 {
        upload.write_all(b"3\r\nabc\r\n").await?;
        chunks += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ended.await??;
    upload
        .write_all(b"0\r\nx-sum: 7\r\nx-berth-session: live\r\n\r\n")
        .await?;
    let response = read_until(&mut upload, "}").await?;
    assert!(
        response.contains(&format!("\"bytes\":{}", chunks * 3)),
        "{response}"
    );
    assert!(response.contains("\"x-sum\":\"7\""), "{response}");
    assert!(!response.contains("x-berth-session"), "{response}");
    Ok(())
}

#[tokio::test]
async fn ranges_and_http2_pass_unchanged() -> Result<()> {
    let lab = start_lab().await?;
    let call = Call::get("/jup/range")
        .cookie(&lab.cookie)
        .header("range", "bytes=2-4");
    let mut http2 = Http2::connect_plain(lab.stack.address()).await?;
    for reply in [lab.stack.send(call.clone()).await?, http2.send(call).await?] {
        assert_eq!((reply.status, reply.text()), (206, "234".to_owned()));
        assert_eq!(reply.header("content-range"), "bytes 2-4/10");
    }
    let body = "x".repeat(300_000);
    let upload = Call::new("POST", "/jup/upload")
        .cookie(&lab.cookie)
        .body(body);
    assert_eq!(http2.send(upload).await?.json()["bytes"], 300_000);
    Ok(())
}

#[tokio::test]
async fn an_engine_that_does_not_answer_is_a_problem_with_a_time_for_a_retry() -> Result<()> {
    let lab = start_lab().await?;
    let name = lab.warm_up("/jup/a").await?;
    let engine = lab
        .engines
        .iter()
        .find(|engine| engine.name == name)
        .ok_or("no engine")?;
    let before = engine.requests();
    let broken = lab.get("/jup/break").await?;
    assert_eq!(
        (broken.status, broken.reason()),
        (503, "engine-failed".to_owned())
    );
    assert_eq!(broken.header("retry-after"), "1");
    assert_eq!(broken.header("content-type"), "application/problem+json");
    assert_eq!(
        engine.requests(),
        before + 1,
        "no retry of what may have been done"
    );
    let failures = "wasmcustom.berth_engine_failures.pool=lab";
    assert_eq!(lab.stack.envoy.stat(failures).await?, Some(1));
    // The engine answers probes, so its key stays.
    assert_eq!(lab.get("/jup/a").await?.json()["engine"], name.as_str());
    Ok(())
}
