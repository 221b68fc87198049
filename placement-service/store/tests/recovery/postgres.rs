//! A statement that arrives late, a failover, callers that go away, few connections, a pooler.

use crate::{LIMIT, insert, numbered_row, wait_until_writable};
use berth_databases::{FaultProxy, PgBouncer, Postgres};
use berth_store::postgres::PostgresStore;
use berth_store::{Coordination, InsertResult, SessionStore, conformance};
use futures_util::future::join_all;
use sqlx::Connection;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The number of connections to a database whose transaction waits for its client.
async fn count_open_transactions(url: &str) -> i64 {
    let mut direct = sqlx::PgConnection::connect(url).await.unwrap();
    let count = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity \
         WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
    );
    count.fetch_one(&mut direct).await.unwrap()
}

pub(crate) fn database_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test]
async fn a_begin_that_arrives_after_its_caller_has_gone_leaves_no_transaction() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let store = PostgresStore::open(&far_url, LIMIT).await.unwrap();
    store.ping().await.unwrap();
    proxy.delay_once("BEGIN", Duration::from_millis(600));
    let delayed = async {
        while !proxy.has_delayed() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        result = insert(&store, 1) => panic!("not delayed: {result:?}"),
        () = delayed => {}
    }
    // Long enough for the statement to arrive, and for the connection to be back in the pool.
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(count_open_transactions(&url).await, 0);
    // Whichever connection they get, statements are committed.
    for number in 2..20 {
        store
            .put_value(&format!("a/{number}"), Some(""))
            .await
            .unwrap();
    }
    let other = PostgresStore::open(&url, LIMIT).await.unwrap();
    assert_eq!(other.list_values("a/").await.unwrap().len(), 18);
}

/// Writes are refused, reads are answered.
async fn check_is_standby(store: &PostgresStore, numbers: std::ops::Range<u32>) {
    let all = numbers.map(|number| insert(store, number));
    assert!(join_all(all).await.iter().all(Result::is_err));
    store.find(&numbered_row(0).id_hash).await.unwrap().unwrap();
    assert!(store.heartbeat().await.is_err());
}

#[tokio::test]
async fn a_store_whose_connections_lead_to_a_standby_writes_to_the_primary_again() {
    let primary = Postgres::start().await.unwrap();
    let url = primary.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let store = PostgresStore::open(&far_url, LIMIT).await.unwrap();
    insert(&store, 0).await.unwrap();
    let standby = primary.start_standby().await.unwrap();
    proxy.cut();
    proxy.lead_to(standby.port());
    proxy.restore();
    check_is_standby(&store, 100..116).await;
    // The connections that were opened meanwhile stay open.
    proxy.lead_to(primary.port());
    wait_until_writable(&store, 200..1_000).await;
    store.heartbeat().await.unwrap();
}

#[tokio::test]
async fn a_store_survives_a_failover_to_a_standby_that_is_promoted_later() {
    let mut primary = Postgres::start().await.unwrap();
    let url = primary.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let store = PostgresStore::open(&far_url, LIMIT).await.unwrap();
    insert(&store, 0).await.unwrap();
    let standby = primary.start_standby().await.unwrap();
    primary.kill();
    proxy.lead_to(standby.port());
    check_is_standby(&store, 100..116).await;
    standby.promote().await.unwrap();
    wait_until_writable(&store, 200..1_000).await;
    store.heartbeat().await.unwrap();
    store.find(&numbered_row(0).id_hash).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_thousand_aborted_logins_open_few_connections_and_leave_no_transaction() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database().await.unwrap();
    let (proxy, far_url) = FaultProxy::start(&url).await.unwrap();
    let store = PostgresStore::open(&far_url, LIMIT).await.unwrap();
    let mut aborted = 0;
    for round in 0..50 {
        let logins = (0..20).map(|login| {
            let patience = Duration::from_micros(200 * u64::from(login));
            timeout(patience, insert(&store, round * 20 + login))
        });
        aborted += join_all(logins).await.iter().filter(|r| r.is_err()).count();
    }
    assert!(aborted > 300, "{aborted}");
    insert(&store, 10_000).await.unwrap();
    let opened = proxy.connections();
    assert!(opened < 60, "{opened} connections");
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(count_open_transactions(&url).await, 0);
}

#[tokio::test]
async fn a_role_with_three_connections_serves_24_logins_at_once() {
    let server = Postgres::shared().await.unwrap();
    let url = server.database_with_connection_limit(3).await.unwrap();
    let store = PostgresStore::open(&url, LIMIT).await.unwrap();
    for round in 0..3 {
        let logins = (0..24).map(|login| insert(&store, round * 24 + login));
        for result in join_all(logins).await {
            assert_eq!(result, Ok(InsertResult::Inserted));
        }
    }
}

#[tokio::test]
async fn the_contract_holds_through_pgbouncer() {
    let server = Postgres::shared().await.unwrap();
    let bouncer = PgBouncer::start(&server).await.unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&bouncer.url(database_of(&url)), LIMIT)
        .await
        .unwrap();
    conformance::sessions(&store).await;
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&bouncer.url(database_of(&url)), LIMIT)
        .await
        .unwrap();
    conformance::races(&store).await;
}
