//! A store that answers but refuses writes: logins fail, existing sessions go on, the replica stays ready and reports
//! it. When the store accepts writes again, logins succeed without a restart.

use crate::site::{PASSWORD, Site, eventually, send_request};
use crate::store_outages::start_site;
use berth_databases::{FaultProxy, Postgres, Redis};

async fn try_login(site: &Site) -> u16 {
    let form = format!("username=demo&password={PASSWORD}");
    send_request(site.post_form("/login", &form)).await.status
}

/// Whether the replica is ready, and `GET /health/ready` and the metric report this.
async fn reports_writable(site: &Site, writable: bool) -> bool {
    let ready = site.get("/health/ready", "").await;
    ready.status == 200
        && ready.json()["store_writable"] == writable
        && site.metric("berth_store_writable ").await == u64::from(writable)
}

async fn check_refused_writes(site: &Site, session: &str, make_writable: impl AsyncFnOnce()) {
    // While the connections to the previous primary end, a replica may not be ready for a moment.
    eventually("it is reported", async || {
        reports_writable(site, false).await
    })
    .await;
    assert_eq!(try_login(site).await, 503);
    assert!(reports_writable(site, false).await, "it stays ready");
    assert_eq!(site.token(session).await.status, 200);
    make_writable().await;
    eventually("logins succeed", async || try_login(site).await == 303).await;
}

#[tokio::test]
async fn a_postgres_standby_is_reported_and_survived() {
    let mut primary = Postgres::start().await.unwrap();
    let url = primary.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let site = start_site("postgres", &far_url).await;
    let session = site.login().await;
    assert!(reports_writable(&site, true).await);
    let standby = primary.start_standby().await.unwrap();
    primary.kill();
    proxy.lead_to(standby.port());
    check_refused_writes(&site, &session, async || standby.promote().await.unwrap()).await;
}

#[tokio::test]
async fn a_redis_replica_is_reported_and_survived() {
    let server = Redis::start().await.unwrap();
    let url = server.database();
    let site = start_site("redis", &url).await;
    let session = site.login().await;
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut direct = client.get_multiplexed_async_connection().await.unwrap();
    let mut replica_of = redis::cmd("REPLICAOF");
    replica_of.arg("127.0.0.1").arg("1");
    replica_of.query_async::<()>(&mut direct).await.unwrap();
    check_refused_writes(&site, &session, async || {
        let mut primary = redis::cmd("REPLICAOF");
        primary.arg("NO").arg("ONE");
        primary.query_async::<()>(&mut direct).await.unwrap();
    })
    .await;
}

/// Leases of a service that has shut down.
#[tokio::test]
async fn a_shutdown_releases_the_leases() {
    let webhook = "webhooks: [ { name: siem, url: \"http://127.0.0.1:1/\", secret: { inline: webhook-secret-16 } } ]";
    let site = Site::start(webhook).await;
    let database = site.database().await;
    let leases = async || {
        let count = sqlx::query_scalar("SELECT count(*) FROM leases");
        let count: i64 = count.fetch_one(&database).await.unwrap();
        count
    };
    eventually("both are leased", async || leases().await == 2).await;
    let _kept = site.shut_down().await;
    assert_eq!(leases().await, 0);
}
