//! After any failure, the service's count of open streams returns to the engines' own count: clients that disconnect
//! early, engines that die, a filter that traps, restarts of Envoy and the service.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::client::upgrade_head;
use berth_harness::{Call, Result, Stack, WebSocket, paths, wait};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const PATH: &str = "/app/sales.qvf";
const MAX_SOCKETS: usize = 60;
/// The streams of a dead gateway are removed after 30 s without a report.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(90);
/// Counts that are equal for this long are not equal by chance.
const STABLE_TIME: Duration = Duration::from_secs(2);

/// Duration of the chaos: seconds in every run, ten minutes in `make soak`.
fn duration() -> Duration {
    Duration::from_secs(if berth_harness::is_soak() { 600 } else { 12 })
}

/// A pseudorandom generator with a fixed seed: each run makes the same steps.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Open streams per engine as the service counts them.
async fn service_counts(stack: &Stack) -> Result<BTreeMap<String, usize>> {
    let service = stack.service.as_ref().ok_or("no service")?;
    let text = Call::get("/metrics").send(service.addr).await?.text();
    let mut all = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| line.starts_with("berth_streams{"))
    {
        let engine = line
            .split("engine=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
        all.insert(
            engine.ok_or("an engine")?.to_owned(),
            count.ok_or("a count")?,
        );
    }
    Ok(all)
}

/// Sockets and sessions in use per engine as the engines count them.
async fn engine_counts(stack: &Stack) -> Result<BTreeMap<String, (usize, usize)>> {
    let mut all = BTreeMap::new();
    for engine in &stack.engines {
        let stats = engine.stats().await?;
        all.insert(stats.name, (stats.sockets, stats.sessions - stats.waiting));
    }
    Ok(all)
}

/// Whether the service's counts equal the engines' counts and name no other engine.
fn counts_agree(
    counted: &BTreeMap<String, usize>,
    true_counts: &BTreeMap<String, (usize, usize)>,
) -> bool {
    let same = |(engine, (sockets, sessions)): (&String, &(usize, usize))| {
        sockets == sessions && counted.get(engine).copied().unwrap_or_default() == *sockets
    };
    let elsewhere =
        |(engine, streams): (&String, &usize)| true_counts.contains_key(engine) || *streams == 0;
    true_counts.iter().all(same) && counted.iter().all(elsewhere)
}

/// A client that requests a socket and disconnects before or during the response.
async fn disconnect_early(stack: &Stack, cookie: &str, dice: &mut Random) -> Result<()> {
    let Ok(mut stream) = TcpStream::connect(stack.address()).await else {
        return Ok(());
    };
    stream.set_zero_linger()?;
    let head = upgrade_head(stack.address(), PATH, cookie);
    let _ = stream.write_all(head.as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(dice.below(20))).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_chaos_the_service_counts_what_the_engines_count() -> Result<()> {
    let mut stack = Stack::builder()
        .engines(3)
        .envoy_concurrency(2)
        .module(paths::trapping_module()?)
        .start()
        .await?;
    let cookie = stack.login_demo().await?;
    let mut dice = Random(0x9e37_79b9_7f4a_7c15);
    let mut sockets: Vec<WebSocket> = vec![];
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    let started_at = Instant::now();
    let mut last_hard = Instant::now();
    let mut hard = 0_u64;
    while started_at.elapsed() < duration() {
        let what = match dice.below(10) {
            0..=4 if sockets.len() < MAX_SOCKETS => {
                // Rejections are expected while an engine or the service is away.
                sockets.extend(stack.open_socket(PATH, &cookie).await);
                "open"
            }
            0..=5 => {
                disconnect_early(&stack, &cookie, &mut dice).await?;
                "break off"
            }
            6..=7 => {
                if !sockets.is_empty() {
                    let at = usize::try_from(dice.below(sockets.len() as u64))?;
                    drop(sockets.swap_remove(at));
                }
                "drop"
            }
            _ if last_hard.elapsed() > Duration::from_millis(1_500) => {
                last_hard = Instant::now();
                hard += 1;
                match hard % 4 {
                    1 => {
                        let trap = Call::get("/api/whoami").header("trap-for-tests", "1");
                        drop(stack.send(trap).await);
                        "trap"
                    }
                    2 => {
                        let at = usize::try_from(dice.below(3))?;
                        stack.engines[at].restart().await?;
                        "engine killed"
                    }
                    3 => {
                        stack.service()?.restart().await?;
                        "service killed"
                    }
                    _ => {
                        stack.envoy.restart().await?;
                        "Envoy killed"
                    }
                }
            }
            _ => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                "rest"
            }
        };
        *done.entry(what).or_default() += 1;
    }
    for needed in [
        "open",
        "break off",
        "drop",
        "trap",
        "engine killed",
        "service killed",
        "Envoy killed",
    ] {
        assert!(
            done.contains_key(needed),
            "no {needed} in this run: {done:?}"
        );
    }
    // New sockets can be opened after the chaos.
    for _ in 0..20 {
        let open = || async { stack.open_socket(PATH, &cookie).await.ok() };
        sockets.push(
            wait::poll_until("a socket after the chaos", Duration::from_secs(30), open).await?,
        );
    }
    // An idle socket whose VM has trapped stays open until its next byte, so every socket sends some bytes.
    let mut alive = vec![];
    for mut socket in sockets {
        if socket.check_echo().await.is_ok() {
            alive.push(socket);
        }
    }
    let settled = Instant::now();
    let mut last = String::new();
    let mut agreed: Option<Instant> = None;
    loop {
        let (counted, true_counts) = (service_counts(&stack).await?, engine_counts(&stack).await?);
        let open: usize = true_counts.values().map(|(sockets, _)| sockets).sum();
        if counts_agree(&counted, &true_counts) && open >= 20 {
            let since = *agreed.get_or_insert_with(Instant::now);
            if since.elapsed() >= STABLE_TIME {
                let after = since.duration_since(settled);
                println!("{done:?}; after {after:?} both count {counted:?}");
                return Ok(());
            }
        } else {
            agreed = None;
        }
        let clients = alive.len();
        let now = format!("service {counted:?}, engines {true_counts:?}, clients {clients}");
        if now != last {
            println!("{:?}: {now}", settled.elapsed());
            last = now;
        }
        assert!(settled.elapsed() < SETTLE_TIMEOUT, "{last}");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
