//! One server process on one port: its start, its faults, and its end. This module does not know which server it is.

use berth_harness::Result;
use berth_harness::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);
/// Interval between checks whether a process has stopped.
const STOP_POLL: Duration = Duration::from_millis(1);
/// Another process may take a free port before the server binds it, so `start` tries several ports.
const START_ATTEMPTS: usize = 5;

/// What differs between the kinds of servers.
pub trait ServerKind: Sized + Send + Sync + 'static {
    /// The name in logs.
    const NAME: &'static str;
    /// The signal for a graceful shutdown that does not wait for clients.
    const STOP_SIGNAL: Signal;

    /// Finds the programs and creates an empty server in `dir`.
    ///
    /// # Errors
    /// When the server is not installed.
    fn install(dir: &Path) -> Result<Self>;

    /// Holds the server of [`Server::shared`].
    fn shared_slot() -> &'static Mutex<Weak<Server<Self>>>;

    /// The command that runs the server in the foreground.
    fn command(&self, dir: &Path, port: u16) -> Vec<String>;

    /// Whether the server answers a client.
    fn is_reachable(&self, port: u16) -> impl Future<Output = bool> + Send;
}

/// A server process, running or stopped.
pub struct Server<K> {
    kind: K,
    port: u16,
    process: Process,
    databases: AtomicU32,
    dir: TempDir,
}

impl<K: ServerKind> Server<K> {
    /// Starts a server for one test that injects faults.
    ///
    /// # Errors
    /// When it is not installed or does not start. The error contains its log.
    pub async fn start() -> Result<Self> {
        let dir = Self::make_folder()?;
        let kind = K::install(dir.path())?;
        Self::start_installed(dir, kind).await
    }

    /// A folder for a new server.
    pub(crate) fn make_folder() -> Result<TempDir> {
        let prefix = format!("berth-{}-", K::NAME);
        Ok(tempfile::Builder::new().prefix(&prefix).tempdir()?)
    }

    /// Starts a server whose folder is ready.
    pub(crate) async fn start_installed(dir: TempDir, kind: K) -> Result<Self> {
        let mut error = None;
        for _ in 0..START_ATTEMPTS {
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let mut process = spawn_server(&kind, dir.path(), port)?;
            match wait_until_ready(&kind, &mut process, port).await {
                Ok(()) => {
                    return Ok(Self {
                        kind,
                        port,
                        process,
                        databases: AtomicU32::new(0),
                        dir,
                    });
                }
                Err(e) => error = Some(e),
            }
        }
        Err(error.unwrap_or_else(|| "no port to try".into()))
    }

    /// The server that the tests of one process share. It ends when the last holder drops it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn shared() -> Result<Arc<Self>> {
        let mut shared = K::shared_slot().lock().await;
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start().await?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// The loopback port of the server.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The directory with its data and all its other files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A number for a database that no other test uses.
    pub(crate) fn next_database(&self) -> u32 {
        self.databases.fetch_add(1, Ordering::Relaxed)
    }

    /// Suspends the server: connections stay open and hang.
    pub fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Ends [`Self::freeze`].
    pub fn resume(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Shuts the server down gracefully. Every connection is closed.
    pub fn stop(&mut self) {
        self.process.signal(K::STOP_SIGNAL);
        if self.process.wait(STOP_TIMEOUT).is_none() {
            self.kill();
        }
    }

    /// Kills the server, as `kill -9` does.
    pub fn kill(&mut self) {
        self.signal_all(Signal::KILL);
        self.process.kill();
    }

    /// Starts the server again after [`Self::stop`] or [`Self::kill`], on the same port with the same data.
    ///
    /// # Errors
    /// When it does not start. The error contains its log.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let end = Instant::now() + START_TIMEOUT;
        loop {
            self.process = spawn_server(&self.kind, self.dir.path(), self.port)?;
            let ready = wait_until_ready(&self.kind, &mut self.process, self.port).await;
            // PostgreSQL does not start while the kernel is still ending a killed process of the previous server.
            let in_use =
                |error: &berth_harness::Error| error.to_string().contains("is still in use");
            if Instant::now() >= end || !ready.as_ref().is_err_and(in_use) {
                return ready;
            }
            sleep(READY_POLL).await;
        }
    }

    /// Everything that the server has printed.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Signals the server and its children, because PostgreSQL's children have their own process groups. The server is
    /// stopped first: a child that it starts meanwhile would miss the signal and go on answering.
    fn signal_all(&self, signal: Signal) {
        let leader = self.process.pid();
        send_signal(leader, Signal::STOP);
        let end = Instant::now() + STOP_TIMEOUT;
        while is_running(leader) && Instant::now() < end {
            thread::sleep(STOP_POLL);
        }
        for pid in find_children(leader).into_iter().chain([leader]) {
            send_signal(pid, signal);
        }
    }
}

impl<K> Drop for Server<K> {
    fn drop(&mut self) {
        // A frozen child does not notice that its parent has ended.
        for pid in find_children(self.process.pid()) {
            send_signal(pid, Signal::KILL);
        }
    }
}

fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn spawn_server<K: ServerKind>(kind: &K, dir: &Path, port: u16) -> Result<Process> {
    Process::spawn(K::NAME, &kind.command(dir, port), dir)
}

async fn wait_until_ready<K: ServerKind>(kind: &K, process: &mut Process, port: u16) -> Result<()> {
    let end = Instant::now() + START_TIMEOUT;
    while !kind.is_reachable(port).await {
        let why = match process.exit_status() {
            Some(status) => format!("ended ({status})"),
            None if Instant::now() >= end => format!("did not answer within {START_TIMEOUT:?}"),
            None => {
                sleep(READY_POLL).await;
                continue;
            }
        };
        return Err(format!("{} {why}\n{}", K::NAME, process.tail()).into());
    }
    Ok(())
}

/// Whether the process exists and is neither stopped nor ended.
fn is_running(pid: u32) -> bool {
    let state = read_status_field(&Path::new("/proc").join(pid.to_string()), "State:");
    state.is_some_and(|state| !state.starts_with(['T', 'Z', 'X']))
}

/// One field of `/proc/PID/status`.
fn read_status_field(process: &Path, name: &str) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().to_owned())
}

/// The processes whose parent is `leader`.
fn find_children(leader: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let parent = |path: PathBuf| -> Option<u32> { read_status_field(&path, "PPid:")?.parse().ok() };
    processes
        .filter(|entry| parent(entry.path()) == Some(leader))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
