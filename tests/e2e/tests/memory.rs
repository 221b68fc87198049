//! Memory of Envoy with the filter under load: requests, and clients that disconnect while the filter waits for the
//! placement service. The curve is written to `target/soak/memory.csv` and must be flat. Few requests in every run; a
//! million requests and 100,000 disconnects in `make soak`.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::client::{Connection, upgrade_head};
use berth_harness::{Call, Result, Stack, paths};
use serde_json::json;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Points of the curve.
const ROUNDS: usize = 20;
/// After this number of rounds, caches, pools and heaps have reached their size.
const WARM_UP_ROUNDS: usize = 5;
const CLIENTS: usize = 8;
/// Permitted growth between the warm state and the end: well below one byte per ten requests of the long run, and
/// above the variation of V8 and the allocator.
const GROWTH_KIB: f64 = 24.0 * 1_024.0;

/// Requests and disconnects of all rounds together.
fn request_counts() -> (usize, usize) {
    if berth_harness::is_soak() {
        (1_000_000, 100_000)
    } else {
        (20_000, 2_000)
    }
}

async fn send_requests(to: SocketAddr, cookie: String, count: usize) -> Result<()> {
    let mut connection = Connection::open(to).await?;
    for _ in 0..count {
        let reply = connection
            .send(Call::get("/api/whoami").cookie(&cookie))
            .await?;
        if reply.status != 200 {
            return Err(format!("{} {}", reply.status, reply.text()).into());
        }
    }
    Ok(())
}

/// Clients that request a socket and disconnect before the response.
async fn abort_upgrades(to: SocketAddr, cookie: String, count: usize) -> Result<()> {
    let head = upgrade_head(to, "/app/sales.qvf", &cookie);
    for _ in 0..count {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_zero_linger()?;
        stream.write_all(head.as_bytes()).await?;
        // Long enough for the filter to send its call, too short for a response.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_flat_under_requests_and_early_disconnects() -> Result<()> {
    let (all_requests, all_aborts) = request_counts();
    let mut stack = Stack::builder()
        .engines(1)
        .engine_args(&["--session-kb", "0"])
        // One session requests all sockets faster than the service learns that their clients are gone.
        .service_config(&json!({"placement": {"max_streams_per_session": 0}}))
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let started_at = Instant::now();
    let mut curve = String::from("requests,aborts,seconds,envoy_rss_kib\n");
    let mut sizes = vec![];
    for round in 1..=ROUNDS {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (to, cookie) = (stack.address(), cookie.clone());
            clients.spawn(send_requests(
                to,
                cookie.clone(),
                all_requests / ROUNDS / CLIENTS,
            ));
            clients.spawn(abort_upgrades(to, cookie, all_aborts / ROUNDS / CLIENTS));
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        let rss = stack.envoy.process().rss();
        let (requests, aborts) = (all_requests / ROUNDS * round, all_aborts / ROUNDS * round);
        curve += &format!(
            "{requests},{aborts},{},{rss}\n",
            started_at.elapsed().as_secs()
        );
        sizes.push(rss);
    }
    let dir = paths::target_dir().join("soak");
    std::fs::create_dir_all(&dir)?;
    std::fs::write(dir.join("memory.csv"), &curve)?;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (warm, end) = (
        mean(&sizes[WARM_UP_ROUNDS..2 * WARM_UP_ROUNDS]),
        mean(&sizes[ROUNDS - WARM_UP_ROUNDS..]),
    );
    println!("{curve}warm {warm:.0} KiB, end {end:.0} KiB");
    assert!(
        end - warm < GROWTH_KIB,
        "from {warm:.0} to {end:.0} KiB:\n{curve}"
    );
    Ok(())
}
