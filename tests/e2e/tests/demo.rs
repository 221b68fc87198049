//! `make run` as its user meets it: one line when it is ready, and no process left when it ends,
//! however it ends.

use berth_harness::process::Process;
use berth_harness::{Result, paths, wait};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(15);

/// A demo on free ports, in a target folder of its own.
struct Demo {
    process: Process,
    dir: tempfile::TempDir,
}

async fn demo() -> Result<Demo> {
    let dir = tempfile::tempdir()?;
    // Held until all are known, so that no two are the same.
    let held: Vec<TcpListener> = (0..6)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<std::io::Result<_>>()?;
    let ports: Vec<String> = held
        .iter()
        .map(|held| Ok(held.local_addr()?.port().to_string()))
        .collect::<Result<_>>()?;
    let names = [
        "BERTH_HTTP_PORT",
        "BERTH_ADMIN_PORT",
        "BERTH_SERVICE_PORT",
        "BERTH_APP_PORT",
        "BERTH_ENGINE_PORT",
        "BERTH_ENGINE_METRICS_PORT",
    ];
    let target = dir.path().display().to_string();
    let bin = paths::binary("berth-run")?;
    let bins = bin.parent().ok_or("a folder")?.display().to_string();
    let wasm = paths::filter_module()?.display().to_string();
    let mut env: Vec<(&str, &str)> = vec![
        ("BERTH_ENGINES", "1"),
        ("CARGO_TARGET_DIR", &target),
        ("BERTH_BIN_DIR", &bins),
        ("BERTH_WASM", &wasm),
    ];
    env.extend(names.into_iter().zip(ports.iter().map(String::as_str)));
    drop(held);
    let command = [bin.display().to_string()];
    let process = Process::spawn_with("berth-run", &command, dir.path(), &env)?;
    Ok(Demo { process, dir })
}

/// Processes whose command line names this demo's folder.
fn left(dir: &Path) -> Result<Vec<String>> {
    let mark = dir.display().to_string();
    let mut found = vec![];
    for entry in fs::read_dir("/proc")? {
        // Most are not processes, or end meanwhile.
        let command = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&mark) {
            found.push(command);
        }
    }
    Ok(found)
}

async fn nothing_is_left(dir: &Path) -> Result<()> {
    let gone = || async { left(dir).ok()?.is_empty().then_some(()) };
    let awaited = wait::until("no process is left", END, gone).await;
    awaited.map_err(|e| format!("{e}: {:?}", left(dir)).into())
}

#[tokio::test]
async fn it_says_ready_once_and_sigterm_leaves_no_process() -> Result<()> {
    let mut demo = demo().await?;
    let line = demo.process.line("ready: http://127.0.0.1:", START).await?;
    assert!(left(demo.dir.path())?.len() >= 2, "nothing runs at {line}");
    assert!(demo.process.terminate(END), "SIGTERM was not obeyed");
    nothing_is_left(demo.dir.path()).await?;
    let log = demo.process.log();
    assert_eq!(log.matches("ready: ").count(), 1, "{log}");
    assert!(!log.contains("had to be killed"), "{log}");
    Ok(())
}

#[tokio::test]
async fn even_sigkill_leaves_no_process() -> Result<()> {
    let mut demo = demo().await?;
    demo.process.line("ready: ", START).await?;
    // The process alone, not its group: nobody is there to clean up but the kernel.
    let pid = demo.process.pid().to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()?
            .success()
    );
    nothing_is_left(demo.dir.path()).await
}

#[tokio::test]
async fn a_child_that_dies_is_named_and_ends_all() -> Result<()> {
    let mut demo = demo().await?;
    demo.process.line("ready: ", START).await?;
    let config = demo.dir.path().join("run/berth.yaml").display().to_string();
    let mut kill = Command::new("pkill");
    kill.args(["-KILL", "-f", &format!("serve --config {config}")]);
    assert!(kill.status()?.success());
    let status = demo.process.wait(END).ok_or("it went on")?;
    assert!(!status.success());
    let log = demo.process.log();
    assert!(log.contains("berth-run: berth has ended"), "{log}");
    nothing_is_left(demo.dir.path()).await
}
