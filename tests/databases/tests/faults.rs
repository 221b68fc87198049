//! The servers behave as the tests of stores expect: data survives a kill, a frozen server hangs, nothing is left
//! behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use berth_databases::{Postgres, Redis};
use std::time::Duration;
use tokio::time::timeout;

const HANG_TIMEOUT: Duration = Duration::from_millis(300);

async fn run_redis_command(url: &str, words: &[&str]) -> Option<String> {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words.first().unwrap());
    for word in words.iter().skip(1) {
        command.arg(*word);
    }
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn redis_keeps_its_data_through_a_kill_and_hangs_while_frozen() {
    let mut server = Redis::start().await.unwrap();
    let (url, other) = (server.database(), server.database());
    run_redis_command(&url, &["SET", "a", "1"]).await;
    assert_eq!(run_redis_command(&other, &["GET", "a"]).await, None);
    server.kill();
    server.restart().await.unwrap();
    assert_eq!(
        run_redis_command(&url, &["GET", "a"]).await.as_deref(),
        Some("1")
    );
    server.freeze();
    let hangs = timeout(HANG_TIMEOUT, run_redis_command(&url, &["GET", "a"])).await;
    assert!(hangs.is_err());
    server.resume();
    assert_eq!(
        run_redis_command(&url, &["GET", "a"]).await.as_deref(),
        Some("1")
    );
    server.stop();
    server.restart().await.unwrap();
    assert_eq!(
        run_redis_command(&url, &["GET", "a"]).await.as_deref(),
        Some("1")
    );
}

#[tokio::test]
async fn postgres_keeps_its_data_through_a_kill_and_hangs_while_frozen() {
    let mut server = Postgres::start().await.unwrap();
    let url = server.database().await.unwrap();
    let database = url.rsplit('/').next().unwrap().to_owned();
    server
        .execute(&database, "CREATE TABLE t AS SELECT 1 AS a")
        .await
        .unwrap();
    server.kill();
    server.restart().await.unwrap();
    let check = "DO $$ BEGIN ASSERT (SELECT count(*) FROM t) = 1; END $$";
    server.execute(&database, check).await.unwrap();
    server.freeze();
    let hangs = timeout(HANG_TIMEOUT, server.execute(&database, check)).await;
    assert!(hangs.is_err());
    server.resume();
    server.execute(&database, check).await.unwrap();
    server.stop();
    assert!(server.execute(&database, check).await.is_err());
    server.restart().await.unwrap();
    server.execute(&database, check).await.unwrap();
}

#[tokio::test]
async fn a_shared_server_ends_with_its_last_user() {
    let first = Postgres::shared().await.unwrap();
    let second = Postgres::shared().await.unwrap();
    assert_eq!(first.port(), second.port());
    assert_ne!(
        first.database().await.unwrap(),
        second.database().await.unwrap()
    );
    let address = ("127.0.0.1", first.port());
    drop(first);
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
    drop(second);
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
