//! Child sessions across two runtimes, each a service process of its own, that share only Redis or only PostgreSQL.
//! Child sessions complete and their results arrive. The remaining children end with their parent, even if the store
//! was unavailable meanwhile.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_databases::{Postgres, Redis};
use berth_harness::service::{self, Service};
use berth_harness::{Call, Reply, Result, wait};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const OPERATOR: &str = "Bearer operator-secret-1";
const BERTH: &str = "Bearer runtime-secret-12";
/// Longest delay of an unresponsive store, and interval of the checks for expired and orphaned sessions.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(10);
const OUTAGE: Duration = Duration::from_secs(20);

/// Two runtimes on one host: `berth`, which has the login, and `flows`.
struct Runtimes {
    berth: Service,
    flows: Service,
    _dirs: [TempDir; 2],
}

impl Runtimes {
    async fn start(kind: &str, url: &str, idle: Duration) -> Result<Self> {
        let dirs = [tempfile::tempdir()?, tempfile::tempdir()?];
        let client = |name: &str, role: &str, secret: &str| json!({"name": name, "role": role, "secret": {"inline": secret}});
        let runtime = |name: &str| {
            json!({
                "store": {"kind": kind, "url": {"inline": url}},
                "session": {
                    "runtime": name,
                    "cookie": {"secure": false, "name": name},
                    "idle_timeout": format!("{}s", idle.as_secs()),
                    "cleanup": {"interval": format!("{}s", CHECK_INTERVAL.as_secs())},
                    "reconcile": format!("{}s", CHECK_INTERVAL.as_secs()),
                },
                "api": {"clients": [
                    client("ops", "operator", "operator-secret-1"),
                    {"name": "berth", "role": "runtime", "secret": {"inline": "runtime-secret-12"},
                        "child_runtimes": ["flows"]},
                    client("flows", "runtime", "runtime-secret-34"),
                ]},
                "pools": [],
                "routes": [],
            })
        };
        let start = async |name: &str, dir: &TempDir| {
            let config = service::build_config(&[], dir.path(), &json!({}), &runtime(name))?;
            Service::start(&config, 0, dir.path()).await
        };
        let [one, two] = &dirs;
        Ok(Self {
            berth: start("berth", one).await?,
            flows: start("flows", two).await?,
            _dirs: dirs,
        })
    }

    /// Logs in at `berth`. Returns the cookie and the session's `session_ref`.
    async fn login(&self) -> Result<(String, String)> {
        let fields = [("username", "demo"), ("password", "demo-password")];
        let reply = Call::post_form("/login", &fields)
            .send(self.berth.addr)
            .await?;
        let cookie = reply.set_cookie("berth").ok_or("no cookie")?;
        let id = cookie.trim_start_matches("berth=");
        let token = Call::post_json("/v1/tokens", &json!({"session": id}));
        let token = token.send(self.berth.addr).await?.json();
        let sid = token["session_ref"].as_str().ok_or("no session")?;
        Ok((cookie.clone(), sid.to_owned()))
    }

    /// Starts a child session at `flows` from `berth`. Returns its cookie and its `session_ref`.
    async fn start_child(&self, parent: &str) -> Result<(String, String)> {
        let body = json!({"runtime": "flows", "idle_timeout_s": 3600});
        let call = Call::post_json(&format!("/v1/sessions/{parent}/children"), &body);
        let reply = call
            .header("authorization", BERTH)
            .send(self.flows.addr)
            .await?;
        let child = reply.json();
        let names = child["id"].as_str().zip(child["session_ref"].as_str());
        let (id, sid) = names.ok_or(format!("{}: {}", reply.status, reply.text()))?;
        Ok((format!("flows={id}"), sid.to_owned()))
    }

    async fn log_out(&self, cookie: &str) -> Result<Reply> {
        Call::new("POST", "/logout")
            .cookie(cookie)
            .send(self.berth.addr)
            .await
    }

    /// The event of a runtime's log that reports the end of a session.
    async fn end_event(&self, service: &Service, sid: &str) -> Option<Value> {
        let call = Call::get("/v1/events?limit=500&cursor=0000000000000000-0");
        let reply = call
            .header("authorization", OPERATOR)
            .send(service.addr)
            .await;
        let page = reply.ok()?.json();
        let mut events = page["events"].as_array()?.iter();
        let ends = |e: &&Value| e["session_ref"] == sid && e["cause"].is_string();
        events.find(ends).cloned()
    }

    async fn status(&self, service: &Service, cookie: &str) -> Result<u16> {
        let call = Call::get("/is-authenticated").cookie(cookie);
        Ok(call.send(service.addr).await?.status)
    }

    /// Waits until `flows` rejects the cookie and its log has the end event.
    async fn await_end(&self, cookie: &str, sid: &str, limit: Duration) -> Result<Value> {
        wait::poll_until("the child ends", limit, || async {
            let refused = self.status(&self.flows, cookie).await.ok()? == 401;
            let event = self.end_event(&self.flows, sid).await?;
            refused.then_some(event)
        })
        .await
    }
}

/// A child completes. Then the parent logs out, and a child and its child end on the other runtime.
async fn check_child_sessions(kind: &str, url: &str) -> Result<()> {
    let world = Runtimes::start(kind, url, Duration::from_secs(1800)).await?;
    let (parent, sid) = world.login().await?;
    let (cookie, child) = world.start_child(&sid).await?;
    assert_eq!(world.status(&world.flows, &cookie).await?, 200);
    let result = json!({"approved": [1, 2], "by": "Zoë"});
    let call = Call::post_json(
        &format!("/v1/sessions/{child}/complete"),
        &json!({"result": result}),
    );
    let done = call.header("authorization", "Bearer runtime-secret-34");
    assert_eq!(done.send(world.flows.addr).await?.status, 204);
    let event = world
        .end_event(&world.berth, &child)
        .await
        .ok_or("no event")?;
    assert_eq!(
        (&event["kind"], &event["parent_ref"]),
        (&json!("child-completed"), &json!(sid))
    );
    assert_eq!(event["result"], result);
    assert_eq!(world.status(&world.berth, &parent).await?, 200, "it stays");

    let (child_cookie, child) = world.start_child(&sid).await?;
    let (grandchild_cookie, grandchild) = world.start_child(&child).await?;
    for cookie in [&child_cookie, &grandchild_cookie] {
        assert_eq!(world.status(&world.flows, cookie).await?, 200);
    }
    let started_at = Instant::now();
    assert_eq!(world.log_out(&parent).await?.status, 204);
    let limit = Duration::from_secs(2);
    for (cookie, sid) in [(&child_cookie, &child), (&grandchild_cookie, &grandchild)] {
        let event = world.await_end(cookie, sid, limit).await?;
        assert_eq!(event["cause"], "parent-ended");
    }
    let took = started_at.elapsed();
    assert!(took < limit, "{took:?}");
    Ok(())
}

/// The store is suspended; meanwhile the parent expires, and its logout fails without a store. No request is
/// accepted, and the remaining child sessions end once the store is back.
async fn check_outage(kind: &str, url: &str, freeze: impl Fn(), resume: impl Fn()) -> Result<()> {
    let world = Runtimes::start(kind, url, IDLE).await?;
    let (parent, sid) = world.login().await?;
    let (child_cookie, child) = world.start_child(&sid).await?;
    let (grandchild_cookie, grandchild) = world.start_child(&child).await?;
    assert_eq!(world.status(&world.flows, &child_cookie).await?, 200);
    freeze();
    let started_at = Instant::now();
    wait::poll_until("the store is away", CHECK_INTERVAL, || async {
        let status = world.status(&world.flows, &child_cookie).await.ok()?;
        (status == 503).then_some(())
    })
    .await?;
    assert_eq!(world.log_out(&parent).await?.status, 503);
    wait::poll_until("the outage is long", OUTAGE + CHECK_INTERVAL, || async {
        let status = world.status(&world.flows, &grandchild_cookie).await.ok()?;
        assert_eq!(status, 503, "the status is not known");
        (started_at.elapsed() > OUTAGE).then_some(())
    })
    .await?;
    resume();
    // One run of the expiry, one run for orphans, and the time to reconnect.
    let limit = 3 * CHECK_INTERVAL;
    for (cookie, sid) in [(&child_cookie, &child), (&grandchild_cookie, &grandchild)] {
        wait::poll_until("the child is rejected", limit, || async {
            let status = world.status(&world.flows, cookie).await.ok()?;
            assert_ne!(status, 200, "its parent has ended");
            (status == 401).then_some(())
        })
        .await?;
        let event = world.await_end(cookie, sid, limit).await?;
        assert_eq!(event["cause"], "parent-ended");
    }
    Ok(())
}

#[tokio::test]
async fn child_sessions_work_between_runtimes_that_share_only_redis() -> Result<()> {
    let server = Redis::shared().await?;
    check_child_sessions("redis", &server.database()).await
}

#[tokio::test]
async fn child_sessions_work_between_runtimes_that_share_only_postgres() -> Result<()> {
    let server = Postgres::shared().await?;
    check_child_sessions("postgres", &server.database().await?).await
}

#[tokio::test]
async fn child_sessions_end_with_their_parent_after_an_outage_of_redis() -> Result<()> {
    let server = Redis::start().await?;
    check_outage(
        "redis",
        &server.database(),
        || server.freeze(),
        || server.resume(),
    )
    .await
}

#[tokio::test]
async fn child_sessions_end_with_their_parent_after_an_outage_of_postgres() -> Result<()> {
    let server = Postgres::start().await?;
    let url = server.database().await?;
    check_outage("postgres", &url, || server.freeze(), || server.resume()).await
}
