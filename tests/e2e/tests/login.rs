//! Logins through the real Envoy: the client address that rate limits use, the maximum size of tokens, and the
//! rotation of keys under load.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::{Call, Reply, Result, Stack, paths, wait};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

async fn log_in(stack: &Stack, from: Ipv4Addr, forged: &str) -> Result<Reply> {
    let body = json!({"username": "demo", "password": "demo-password"});
    let call = Call::post_json("/login", &body).from(from);
    stack.send(call.header("x-forwarded-for", forged)).await
}

#[tokio::test]
async fn each_client_address_has_its_own_rate_limit() -> Result<()> {
    let rate = json!({"login": {"rate": {"per_minute": 1, "burst": 3}}});
    let stack = Stack::builder()
        .engines(1)
        .service_config(&rate)
        .start()
        .await?;
    let one = Ipv4Addr::new(127, 0, 0, 2);
    for n in 0..3 {
        let reply = log_in(&stack, one, &format!("192.0.2.{n}")).await?;
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let reply = log_in(&stack, one, "192.0.2.9").await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (429, "too-many-logins")
    );
    assert!(reply.header("retry-after").parse::<u32>()? > 50);
    let other = Ipv4Addr::new(127, 0, 0, 3);
    let reply = log_in(&stack, other, "127.0.0.2").await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    Ok(())
}

#[tokio::test]
async fn a_token_of_16_kilobytes_reaches_application_and_engine() -> Result<()> {
    let mut stack = Stack::builder().engines(1).start().await?;
    let roles: Vec<String> = (0..124).map(|n| format!("{n:0>120}")).collect();
    let names: Vec<&str> = roles.iter().map(String::as_str).collect();
    stack.service()?.add_account("many", "many-roles", &names)?;
    let cookie = stack.login("many", "many-roles").await?;

    let reply = stack.send(Call::get("/api/whoami").cookie(&cookie)).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["roles"], json!(roles));
    let qix = stack.open_qix("/app/sales.qvf", &cookie).await?;
    assert_eq!(qix.session_state, "SESSION_ATTACHED");
    let upgrades = stack.engines[0].upgrades().await?;
    let client = upgrades.last().ok_or("no upgrade")?;
    let token = client.header("authorization").next().ok_or("no token")?;
    assert!(token.len() > 16 * 1024, "{} bytes only", token.len());
    Ok(())
}

/// Results of requests with a cookie. Requests that met a starting service are not counted.
#[derive(Debug, Default)]
struct RequestResults {
    accepted: u32,
    rejected: Vec<String>,
}

impl RequestResults {
    /// Sends requests until `times` of them have reached the application.
    async fn send_requests(&mut self, stack: &Stack, cookie: &str, times: u32) -> Result<()> {
        let enough = self.accepted + times;
        while self.accepted < enough && self.rejected.is_empty() {
            let reply = stack.send(Call::get("/api/nothing").cookie(cookie)).await?;
            match (reply.status, reply.reason().as_str()) {
                (404, "") => self.accepted += 1,
                (503, "service-unreachable") => tokio::task::yield_now().await,
                other => self.rejected.push(format!("{other:?}: {}", reply.text())),
            }
        }
        assert_eq!(self.rejected, [""; 0]);
        Ok(())
    }
}

/// Waits until the filter has fetched the key set from the running service.
async fn await_key_fetch(stack: &Stack, service: std::net::SocketAddr) -> Result<()> {
    let counted = "berth_http_requests_total{route=\"/.well-known/jwks.json\",status=\"200\"}";
    let fetched = || async {
        let metrics = Call::get("/metrics").send(service).await.ok()?.text();
        let line = metrics.lines().find(|line| line.starts_with(counted))?;
        let times: u32 = line.rsplit(' ').next()?.parse().ok()?;
        // Envoy's main thread and each worker fetch it once per second, so five fetches include the worker's.
        (times >= 5).then_some(())
    };
    wait::poll_until("the key set to be fetched", LIMIT, fetched).await?;
    // This request follows the response with the key set, so the filter has processed that.
    stack.send(Call::get("/session")).await?;
    Ok(())
}

#[tokio::test]
async fn a_rotation_of_the_signing_key_rejects_no_request() -> Result<()> {
    let key = |algorithm: &str, kid: &str| {
        let name = format!(
            "placement-service/tests/keys/{}.pem",
            algorithm.to_lowercase()
        );
        json!({"algorithm": algorithm, "key": {"file": paths::repository_root().join(name)}, "kid": kid})
    };
    let (old, new) = (key("ES256", "old"), key("EdDSA", "new"));
    // The patch is merged into the demonstration's configuration, so it removes that key.
    let signs = |key: &Value, next: &[&Value], previous: &[&Value]| {
        let mut tokens = key.clone();
        tokens["key"]["inline"] = Value::Null;
        tokens["next"] = json!(next);
        tokens["previous"] = json!(previous);
        json!({"tokens": tokens})
    };
    let mut stack = Stack::builder()
        .engines(1)
        .filter_config(&json!({"tokens": {"jwks": {"refresh": "1s"}}}))
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let service = stack.service()?.addr;
    stack.service()?.reconfigure(&signs(&old, &[], &[])).await?;
    await_key_fetch(&stack, service).await?;
    let mut seen = RequestResults::default();
    seen.send_requests(&stack, &cookie, 20).await?;
    for step in [
        signs(&old, &[&new], &[]),
        signs(&new, &[], &[&old]),
        signs(&new, &[], &[]),
    ] {
        stack.service()?.reconfigure(&step).await?;
        seen.send_requests(&stack, &cookie, 20).await?;
        await_key_fetch(&stack, service).await?;
        seen.send_requests(&stack, &cookie, 20).await?;
    }
    let jwks = stack
        .send(Call::get("/.well-known/jwks.json"))
        .await?
        .json();
    assert_eq!(jwks["keys"].as_array().map(Vec::len), Some(1));
    assert_eq!(jwks["keys"][0]["kid"], "new");
    let own = stack.send(Call::get("/session").cookie(&cookie)).await?;
    assert_eq!(own.json()["account"], "demo", "the session is the same");
    Ok(())
}

#[tokio::test]
async fn a_shared_secret_is_rotated_by_the_filters_keys() -> Result<()> {
    let old = "berth-demo-secret-known-to-everybody";
    let new = "another secret, known to everybody, too";
    let keys = json!([
        {"alg": "HS256", "secret": old, "kid": "old"},
        {"alg": "HS256", "secret": new, "kid": "new"},
    ]);
    let mut stack = Stack::builder()
        .engines(1)
        .service_config(&json!({"tokens": {"kid": "old"}}))
        // A restart of the service leaves no gap in the events, so a cached token stays valid until its TTL.
        .filter_config(&json!({"tokens": {"keys": keys}, "cache": {"ttl": "1s"}}))
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let mut seen = RequestResults::default();
    seen.send_requests(&stack, &cookie, 20).await?;
    let before = json!([{"algorithm": "HS256", "key": {"inline": old}, "kid": "old"}]);
    let exchanged = json!({"kid": "new", "key": {"inline": new}, "previous": before});
    stack
        .service()?
        .reconfigure(&json!({"tokens": exchanged}))
        .await?;
    seen.send_requests(&stack, &cookie, 20).await?;
    let unknown =
        json!({"kid": "third", "key": {"inline": "a third secret, that no filter knows"}});
    stack
        .service()?
        .reconfigure(&json!({"tokens": unknown}))
        .await?;
    let refused = || async {
        let reply = stack.send(Call::get("/api/nothing").cookie(&cookie)).await;
        // 404 comes from the application, as long as the filter has a cached token of the old key.
        reply
            .ok()
            .filter(|reply| !matches!(reply.status, 404 | 503))
    };
    let reply = wait::poll_until("a rejection", LIMIT, refused).await?;
    assert_eq!(
        (reply.status, reply.reason().as_str()),
        (502, "token-invalid")
    );
    Ok(())
}
