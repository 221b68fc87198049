//! How often an engine is checked, and that the end of an engine invalidates its check.

use super::checks::VALIDITY;
use super::*;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

async fn prepare(driver: &Websocket, engine: SocketAddr, dry_run: bool) -> Result<(), DriverFault> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let job = PrepareRequest {
        dry_run,
        ..PrepareRequest::plain(engine, deadline)
    };
    driver.prepare(job).await.map(drop)
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn one_check_is_valid_for_the_placements_of_a_short_time() {
    let (listener, engine) = listen().await;
    let driver = Websocket::default();
    let start = Instant::now();
    let mut placed = 0;
    while start.elapsed() < 5 * VALIDITY {
        prepare(&driver, engine, false).await.unwrap();
        placed += 1;
        tokio::task::yield_now().await;
    }
    let mut checks = 0;
    while let Ok(Ok(_)) = timeout_at(Instant::now() + VALIDITY, listener.accept()).await {
        checks += 1;
    }
    assert!(
        (2..=6).contains(&checks) && placed > 3 * checks,
        "{checks} of {placed}"
    );
}

#[tokio::test]
async fn a_dead_engine_is_detected_at_once() {
    let (listener, engine) = listen().await;
    let driver = Websocket::default();
    prepare(&driver, engine, false).await.unwrap();
    let accepted = listener.accept().await.unwrap();
    drop((listener, accepted));
    let fault = prepare(&driver, engine, false).await.unwrap_err();
    assert_eq!(fault.as_str(), "connect");
}

#[tokio::test]
async fn a_dry_run_always_checks() {
    let (listener, engine) = listen().await;
    let driver = Websocket::default();
    for _ in 0..3 {
        prepare(&driver, engine, true).await.unwrap();
        listener.accept().await.unwrap();
    }
}

#[tokio::test]
async fn no_connection_is_kept_for_long() {
    let (listener, engine) = listen().await;
    let driver = Websocket::default();
    prepare(&driver, engine, false).await.unwrap();
    let mut connection = listener.accept().await.unwrap().0;
    let end = connection.read_u8().await;
    assert!(end.is_err(), "closed by Berth");
}
