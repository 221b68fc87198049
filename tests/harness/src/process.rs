//! One child process. Each child leads its own process group, which is killed when the handle is dropped. If this
//! process dies without a drop (SIGKILL), the kernel kills the children. This module does not know what it runs.

use crate::{Result, paths, usage};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc as blocking};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Number of log lines to print on a failure.
const TAIL_LINES: usize = 40;

/// A running child process.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Process {
    /// Starts `command` in the repository's root. Its output is appended to `<name>.log` in `dir`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &[String], dir: &Path) -> Result<Self> {
        Self::spawn_with(name, command, dir, &[])
    }

    /// As [`Self::spawn`], with environment variables.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn_with(
        name: &str,
        command: &[String],
        dir: &Path,
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let mut file = File::options().create(true).append(true).open(&log)?;
        let mut wrapped_command = with_parent_death_signal(command);
        wrapped_command
            .current_dir(paths::repository_root())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .process_group(0);
        let mut child = spawn_on_permanent_thread(wrapped_command)
            .map_err(|e| format!("{name}: cannot start {command:?}: {e}"))?;
        let stdout = child.stdout.take().ok_or("a piped stdout")?;
        let (sender, lines) = mpsc::unbounded_channel();
        thread::spawn(move || {
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let _ = file.write_all(&line);
                let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            lines,
        })
    }

    /// The name that it was started with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also the id of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line on its standard output that starts with `start`.
    ///
    /// # Errors
    /// When it exits first or does not print such a line within `limit`; the error contains the end of its log.
    pub async fn wait_for_line(&mut self, start: &str, limit: Duration) -> Result<String> {
        let matching_line = timeout(limit, async {
            loop {
                match self.lines.recv().await {
                    Some(line) if line.starts_with(start) => return Some(line),
                    Some(_) => {}
                    None => return None,
                }
            }
        });
        let failure = match matching_line.await {
            Ok(Some(line)) => return Ok(line),
            Ok(None) => "ended",
            Err(_) => "was silent",
        };
        Err(format!(
            "{} {failure} before it printed `{start}`\n{}",
            self.name,
            self.tail()
        )
        .into())
    }

    /// Resident memory of its process group in KiB.
    #[must_use]
    pub fn rss(&self) -> f64 {
        usage::group_rss(self.pid())
    }

    /// The exit status once it has exited.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal to its whole group.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.group_leader() {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Suspends it (SIGSTOP), and returns when it is stopped: before that its threads can still serve a request.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        if let Some(pid) = self.group_leader() {
            let wait_options =
                WaitIdOptions::STOPPED | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            let _ = waitid(WaitId::Pid(pid), wait_options);
        }
    }

    fn group_leader(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    /// Kills it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits; kills it after `grace`. Returns whether it exited in time.
    pub fn terminate(&mut self, grace: Duration) -> bool {
        self.signal(Signal::TERM);
        let has_exited = self.wait(grace).is_some();
        self.kill();
        has_exited
    }

    /// Waits for its exit.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let poll_interval = Duration::from_millis(10);
        for _ in 0..=limit.as_millis() / poll_interval.as_millis() {
            if let Some(status) = self.exit_status() {
                return Some(status);
            }
            thread::sleep(poll_interval);
        }
        None
    }

    /// The last lines of its output.
    #[must_use]
    pub fn tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().rev().take(TAIL_LINES).collect();
        let lines: Vec<&str> = lines.into_iter().rev().collect();
        format!(
            "--- {} ({})\n{}\n---",
            self.name,
            self.log.display(),
            lines.join("\n")
        )
    }

    /// Its whole output.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("{}", self.tail());
        }
    }
}

/// Wraps the command in `setpriv` (util-linux), which asks the kernel to kill the child when its parent dies.
fn with_parent_death_signal(command: &[String]) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let has_setpriv = *SETPRIV.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe
            .args(["--pdeathsig", "KILL", "true"])
            .stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    });
    let mut arguments: Vec<&str> = if has_setpriv {
        vec!["setpriv", "--pdeathsig", "KILL"]
    } else {
        vec![]
    };
    arguments.extend(command.iter().map(String::as_str));
    let mut parts = arguments.into_iter();
    let mut command = Command::new(parts.next().unwrap_or_default());
    command.args(parts);
    command
}

/// Starts the child on one permanent thread: for the kernel, the parent is the thread that forked.
fn spawn_on_permanent_thread(command: Command) -> std::io::Result<Child> {
    type SpawnRequest = (Command, blocking::Sender<std::io::Result<Child>>);
    static JOBS: OnceLock<blocking::Sender<SpawnRequest>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, jobs) = blocking::channel::<SpawnRequest>();
        thread::spawn(move || {
            for (mut command, reply) in jobs {
                let _ = reply.send(command.spawn());
            }
        });
        sender
    });
    let (reply, child) = blocking::channel();
    jobs.send((command, reply)).map_err(std::io::Error::other)?;
    child.recv().map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_command(script: &str) -> Vec<String> {
        vec!["sh".into(), "-c".into(), script.into()]
    }

    fn is_alive(pid: &str) -> bool {
        Path::new("/proc").join(pid).join("exe").read_link().is_ok()
    }

    #[tokio::test]
    async fn dropping_a_process_kills_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = "sleep 600 & echo child $!; wait";
        let mut parent = Process::spawn("parent", &shell_command(script), dir.path()).unwrap();
        let line = parent
            .wait_for_line("child ", Duration::from_secs(10))
            .await
            .unwrap();
        let pid = line.trim_start_matches("child ").to_owned();
        assert!(is_alive(&pid));
        drop(parent);
        let is_gone = || async { (!is_alive(&pid)).then_some(()) };
        crate::wait::poll_until("grandchild gone", Duration::from_secs(5), is_gone)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ends_early_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut short_lived =
            Process::spawn("lost", &shell_command("echo why >&2; exit 3"), dir.path()).unwrap();
        let error = short_lived
            .wait_for_line("listening", Duration::from_secs(10))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("lost ended before"), "{error}");
        assert!(error.to_string().contains("why"), "{error}");
        assert_eq!(
            short_lived.wait(Duration::from_secs(5)).unwrap().code(),
            Some(3)
        );
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        let mut stubborn = Process::spawn("deaf", &shell_command(script), dir.path()).unwrap();
        stubborn
            .wait_for_line("up", Duration::from_secs(10))
            .await
            .unwrap();
        assert!(!stubborn.terminate(Duration::from_millis(200)));
        assert!(stubborn.exit_status().is_some());
    }
}
