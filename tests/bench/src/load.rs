//! Runs one load over one path for a time, in several concurrent loops without pauses.

use crate::{
    client_path::Target,
    echo::Frames,
    handshake::{self, Failure},
    processes::Cpu,
    testbed::Testbed,
};
use berth_harness::Result;
use serde::Serialize;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// Session numbers: no two requests of a run share one.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Sockets of the echo load.
const ECHO_SOCKETS: usize = 32;

/// The operation that each loop repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Load {
    /// Opens a socket, reads the first message, closes it; `connections` at once.
    Handshakes { connections: usize },
    /// Sends a message of 200 bytes and reads its echo over each of `sockets` open sockets.
    Echo { sockets: usize },
}

impl Load {
    pub(crate) const ALL: [Self; 4] = [
        Self::Handshakes { connections: 1 },
        Self::Handshakes { connections: 16 },
        Self::Handshakes { connections: 64 },
        Self::Echo {
            sockets: ECHO_SOCKETS,
        },
    ];
}

impl fmt::Display for Load {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshakes { connections } => write!(out, "handshakes, {connections} at once"),
            Self::Echo { sockets } => write!(out, "echo, {sockets} sockets"),
        }
    }
}

/// The result of one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Sample {
    pub(crate) done: usize,
    pub(crate) failed: usize,
    /// The first failure.
    pub(crate) failure: Option<String>,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU of each part per handshake or message.
    pub(crate) cpu_us: Cpu,
}

/// Runs `load` over `target` for `duration`, after a warm-up of a tenth of it.
///
/// # Errors
/// When every attempt fails; the error names the first failure.
pub(crate) async fn run(
    world: &mut Testbed,
    target: &Arc<Target>,
    load: Load,
    duration: Duration,
) -> Result<Sample> {
    run_loops(target, load, duration / 10).await;
    let (before, begin) = (world.cpu(), Instant::now());
    let tally = run_loops(target, load, duration).await;
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), world.cpu() - before);
    world.await_sockets(0).await?;
    tally.sample(seconds, cpu).ok_or_else(|| {
        let failure = tally.failure.map(|failure| failure.to_string());
        let way = target.way;
        format!("{way}, {load}: {}", failure.unwrap_or_default()).into()
    })
}

async fn run_loops(target: &Arc<Target>, load: Load, duration: Duration) -> LoopCounters {
    let end = Instant::now() + duration;
    let mut loops = JoinSet::new();
    match load {
        Load::Handshakes { connections } => {
            for _ in 0..connections {
                loops.spawn(handshake_loop(Arc::clone(target), end));
            }
        }
        Load::Echo { sockets } => {
            for _ in 0..sockets {
                loops.spawn(echo_loop(Arc::clone(target), end));
            }
        }
    }
    LoopCounters::join(loops).await
}

async fn handshake_loop(target: Arc<Target>, end: Instant) -> LoopCounters {
    let mut tally = LoopCounters::default();
    while Instant::now() < end {
        let begin = Instant::now();
        match open_next(&target).await {
            Ok(_socket) => tally.record_success(begin),
            Err(failure) => tally.record_failure(failure),
        }
    }
    tally
}

async fn echo_loop(target: Arc<Target>, end: Instant) -> LoopCounters {
    let mut tally = LoopCounters::default();
    let mut socket = match open_next(&target).await {
        Ok(socket) => socket,
        Err(failure) => {
            tally.record_failure(failure);
            return tally;
        }
    };
    let (frames, mut buffer) = (Frames::new(), Vec::with_capacity(1_024));
    while Instant::now() < end {
        let begin = Instant::now();
        if let Err(failure) = frames.exchange(&mut socket, &mut buffer).await {
            tally.record_failure(failure);
            break;
        }
        tally.record_success(begin);
    }
    tally
}

/// Opens one socket with the next session number.
pub(crate) async fn open_next(target: &Target) -> Result<tokio::net::TcpStream, Failure> {
    handshake::open(target, NUMBER.fetch_add(1, Relaxed)).await
}

/// Counters of the loops.
#[derive(Default)]
pub(crate) struct LoopCounters {
    durations_ns: Vec<u64>,
    failed: usize,
    failure: Option<Failure>,
}

impl LoopCounters {
    /// Waits for all loops and adds their counters.
    pub(crate) async fn join(mut loops: JoinSet<Self>) -> Self {
        let mut all = Self::default();
        while let Some(tally) = loops.join_next().await {
            all.merge(tally.unwrap_or_default());
        }
        all.durations_ns.sort_unstable();
        all
    }

    pub(crate) fn record_success(&mut self, begin: Instant) {
        let nanos = u64::try_from(begin.elapsed().as_nanos());
        self.durations_ns.push(nanos.unwrap_or(u64::MAX));
    }

    pub(crate) fn record_failure(&mut self, failure: Failure) {
        self.failed += 1;
        self.failure.get_or_insert(failure);
    }

    fn merge(&mut self, other: Self) {
        self.durations_ns.extend(other.durations_ns);
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
    }

    /// `None` when no attempt succeeded.
    pub(crate) fn sample(&self, seconds: f64, cpu: Cpu) -> Option<Sample> {
        let done = u32::try_from(self.durations_ns.len()).ok()?;
        let micros = |per_mille| {
            let nanos = Duration::from_nanos(quantile(&self.durations_ns, per_mille)?);
            Some(nanos.as_secs_f64() * 1e6)
        };
        Some(Sample {
            done: self.durations_ns.len(),
            failed: self.failed,
            failure: self.failure.as_ref().map(ToString::to_string),
            per_second: f64::from(done) / seconds,
            p50_us: micros(500)?,
            p99_us: micros(990)?,
            cpu_us: cpu.times(1e6 / f64::from(done)),
        })
    }
}

/// The quantile of sorted values, by the nearest rank below.
fn quantile(sorted: &[u64], per_mille: usize) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get(last * per_mille / 1_000).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=101).collect();
        assert_eq!(quantile(&values, 500), Some(51));
        assert_eq!(quantile(&values, 990), Some(100));
        assert_eq!(quantile(&[7], 990), Some(7));
        assert_eq!(quantile(&[], 500), None);
    }

    #[test]
    fn a_sample_has_rates_per_second_and_cpu_per_operation() {
        let tally = LoopCounters {
            durations_ns: vec![1_000, 2_000, 3_000, 4_000],
            failed: 1,
            failure: Some(Failure::Timeout),
        };
        let cpu = Cpu {
            envoy: 0.002,
            ..Cpu::default()
        };
        let sample = tally.sample(2.0, cpu).unwrap();
        assert!((sample.per_second - 2.0).abs() < 1e-9);
        assert!((sample.cpu_us.envoy - 500.0).abs() < 1e-6);
        assert!(sample.failure.unwrap().contains("nothing"));
        assert!(LoopCounters::default().sample(1.0, cpu).is_none());
    }
}
