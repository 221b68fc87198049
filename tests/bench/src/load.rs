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
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handshakes { connections } => {
                write!(formatter, "handshakes, {connections} at once")
            }
            Self::Echo { sockets } => write!(formatter, "echo, {sockets} sockets"),
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
    testbed: &mut Testbed,
    target: &Arc<Target>,
    load: Load,
    duration: Duration,
) -> Result<Sample> {
    run_loops(target, load, duration / 10).await;
    let (before, started_at) = (testbed.cpu(), Instant::now());
    let counters = run_loops(target, load, duration).await;
    let (seconds, cpu) = (started_at.elapsed().as_secs_f64(), testbed.cpu() - before);
    testbed.await_sockets(0).await?;
    counters.sample(seconds, cpu).ok_or_else(|| {
        let failure = counters.failure.map(|failure| failure.to_string());
        let client_path = target.client_path;
        format!("{client_path}, {load}: {}", failure.unwrap_or_default()).into()
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
    let mut counters = LoopCounters::default();
    while Instant::now() < end {
        let started_at = Instant::now();
        match open_next(&target).await {
            Ok(_socket) => counters.record_success(started_at),
            Err(failure) => counters.record_failure(failure),
        }
    }
    counters
}

async fn echo_loop(target: Arc<Target>, end: Instant) -> LoopCounters {
    let mut counters = LoopCounters::default();
    let mut socket = match open_next(&target).await {
        Ok(socket) => socket,
        Err(failure) => {
            counters.record_failure(failure);
            return counters;
        }
    };
    let (frames, mut buffer) = (Frames::new(), Vec::with_capacity(1_024));
    while Instant::now() < end {
        let started_at = Instant::now();
        if let Err(failure) = frames.exchange(&mut socket, &mut buffer).await {
            counters.record_failure(failure);
            break;
        }
        counters.record_success(started_at);
    }
    counters
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
        while let Some(counters) = loops.join_next().await {
            all.merge(counters.unwrap_or_default());
        }
        all.durations_ns.sort_unstable();
        all
    }

    pub(crate) fn record_success(&mut self, started_at: Instant) {
        let nanos = u64::try_from(started_at.elapsed().as_nanos());
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
        let completed = u32::try_from(self.durations_ns.len()).ok()?;
        let micros = |per_mille| {
            let nanos = Duration::from_nanos(quantile(&self.durations_ns, per_mille)?);
            Some(nanos.as_secs_f64() * 1e6)
        };
        Some(Sample {
            done: self.durations_ns.len(),
            failed: self.failed,
            failure: self.failure.as_ref().map(ToString::to_string),
            per_second: f64::from(completed) / seconds,
            p50_us: micros(500)?,
            p99_us: micros(990)?,
            cpu_us: cpu.times(1e6 / f64::from(completed)),
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
        let counters = LoopCounters {
            durations_ns: vec![1_000, 2_000, 3_000, 4_000],
            failed: 1,
            failure: Some(Failure::Timeout),
        };
        let cpu = Cpu {
            envoy: 0.002,
            ..Cpu::default()
        };
        let sample = counters.sample(2.0, cpu).unwrap();
        assert!((sample.per_second - 2.0).abs() < 1e-9);
        assert!((sample.cpu_us.envoy - 500.0).abs() < 1e-6);
        assert!(sample.failure.unwrap().contains("nothing"));
        assert!(LoopCounters::default().sample(1.0, cpu).is_none());
    }
}
