//! `berth-run`, the program of `make run`: starts the demonstration, reports when it is ready, supervises it, and
//! ends every process on Ctrl-C, SIGTERM or when one process exits. Envoy is an exception: its watchdog ends it when
//! a worker hangs, so it is restarted unless it exits at every start.

use berth_harness::demo::Demo;
use berth_harness::process::Process;
use berth_harness::restart_policy::RestartPolicy;
use berth_harness::{Result, Stack, envoy, paths};
use clap::Parser;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};
use std::{env, fs};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{interval, sleep};

/// How long a process may take to end after SIGTERM.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(3);

/// Starts the demonstration: engines, the placement service and Envoy. Ctrl-C ends everything.
#[derive(Parser)]
#[command(
    name = "berth-run",
    version,
    max_term_width = 100,
    after_help = "Variables of the environment change the ports (BERTH_HTTP_PORT, BERTH_ADMIN_PORT, BERTH_SERVICE_PORT, \
        BERTH_APP_PORT, BERTH_ENGINE_PORT, BERTH_ENGINE_METRICS_PORT) and the number of engines (BERTH_ENGINES)."
)]
struct Args {
    /// Print the folder's config.yaml with the filter of its filter.yaml in place of the discovery, and start nothing.
    /// For `envoy --mode validate`.
    #[arg(long, value_name = "FOLDER")]
    render_inline: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Args::parse().render_inline {
        Some(folder) => print_inline_config(&folder),
        None => run().await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("berth-run: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let demo = Demo::from_vars(|name| env::var(name).ok())?;
    demo.check_ports()?;
    let mut shutdown_signal = Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    });
    let mut stack = tokio::select! {
        stack = start(&demo) => stack?,
        () = &mut shutdown_signal => return Ok(()),
    };
    print_line(&format!("ready: http://127.0.0.1:{}", demo.ports.http))?;
    print_line(&demo.usage_hints())?;
    tokio::select! {
        () = &mut shutdown_signal => {}
        failed = supervise(&mut stack) => return failed,
    }
    print_line("ending")?;
    terminate_all(&mut stack);
    Ok(())
}

/// Restarts Envoy when it exits. Returns when another process exits, or when Envoy exits at every start.
async fn supervise(stack: &mut Stack) -> Result<()> {
    let mut restarts = RestartPolicy::default();
    let mut ready_at = Some(Instant::now());
    let mut tick = interval(Duration::from_millis(200));
    loop {
        tick.tick().await;
        if let Some(status) = stack.envoy.process().exit_status() {
            let uptime = ready_at.map_or(Duration::ZERO, |since| since.elapsed());
            let pause = restarts.pause_after(uptime);
            let pause = pause.ok_or_else(|| process_exit_error(stack.envoy.process(), status))?;
            let log = stack.dir.join("envoy.log");
            let log = log.display();
            print_line(&format!(
                "  envoy has ended ({status}) and is restarted in {pause:?}; its log: {log}"
            ))?;
            sleep(pause).await;
            // An Envoy that does not get ready counts as an exit after no running time.
            let restarted = stack
                .envoy
                .restart()
                .await
                .map_err(|error| error.to_string());
            ready_at = restarted.is_ok().then(Instant::now);
            print_line(&match restarted {
                Ok(()) => format!("  Envoy on {}, again", stack.envoy.http),
                Err(error) => format!("  {}", error.lines().next().unwrap_or_default()),
            })?;
            continue;
        }
        for process in stack.processes() {
            if let Some(status) = process.exit_status() {
                return Err(process_exit_error(process, status));
            }
        }
    }
}

fn process_exit_error(process: &Process, status: ExitStatus) -> berth_harness::Error {
    let (name, log) = (process.name(), process.tail());
    format!("{name} has ended ({status}), so everything ends\n{log}").into()
}

async fn start(demo: &Demo) -> Result<Stack> {
    let dir = paths::target_dir().join("run");
    remove_old_logs(&dir)?;
    let mut builder = Stack::builder()
        .engines(demo.engines)
        .ports(demo.ports.clone())
        .envoy_concurrency(2)
        .dir(&dir)
        .progress(|line| {
            let _ = print_line(&format!("  {line}"));
        });
    if demo.uses_repository_config()? {
        builder = builder.repository_config();
    }
    builder.start().await
}

fn remove_old_logs(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Terminates all processes, Envoy first, so that no client meets a missing upstream.
fn terminate_all(stack: &mut Stack) {
    let mut processes: Vec<&mut Process> = stack.processes();
    processes.reverse();
    for process in processes {
        if !process.terminate(TERMINATION_TIMEOUT) {
            let _ = print_line(&format!("  {} had to be killed", process.name()));
        }
    }
}

fn print_inline_config(folder: &Path) -> Result<()> {
    let file = serde_json::to_string_pretty(&envoy::render_inline(folder)?)?;
    print_line(&file)
}

fn print_line(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    Ok(stdout.flush()?)
}
