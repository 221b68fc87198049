//! `make run` from its user's view: it prints one line when it is ready, restarts an Envoy that exits, and leaves no
//! process behind in any case.

#![allow(clippy::indexing_slicing, reason = "a wrong index fails the test")]

use berth_harness::process::Process;
use berth_harness::{Call, Result, paths, wait};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const END_TIMEOUT: Duration = Duration::from_secs(15);

/// A demonstration on free ports, in its own target folder.
struct Demo {
    process: Process,
    dir: tempfile::TempDir,
    http: SocketAddr,
}

async fn start_demo() -> Result<Demo> {
    start_demo_with(&[]).await
}

/// Starts a demonstration with additional environment variables.
async fn start_demo_with(further: &[(&str, &str)]) -> Result<Demo> {
    let dir = tempfile::tempdir()?;
    // All listeners stay open until every port is known, so that no port is used twice.
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
    env.extend(further);
    drop(held);
    let command = [bin.display().to_string()];
    let process = Process::spawn_with("berth-run", &command, dir.path(), &env)?;
    let http = ([127, 0, 0, 1], ports[0].parse()?).into();
    Ok(Demo { process, dir, http })
}

/// Ids and command lines of the processes whose command line names this demonstration's folder.
fn remaining_processes(dir: &Path) -> Result<Vec<(String, String)>> {
    let mark = dir.display().to_string();
    let mut found = vec![];
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        // Most entries are not processes, or end meanwhile.
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&mark) {
            found.push((entry.file_name().display().to_string(), command));
        }
    }
    Ok(found)
}

/// Kills Envoy with a crash signal.
fn kill_envoy(demo: &Demo) -> Result<()> {
    let all = remaining_processes(demo.dir.path())?;
    let envoy = all
        .iter()
        .find(|(_, command)| command.contains("--admin-address-path"));
    let (pid, _) = envoy.ok_or_else(|| format!("no Envoy in {all:?}"))?;
    let killed = Command::new("kill").args(["-KILL", pid]).status()?;
    assert!(killed.success());
    Ok(())
}

/// A script in place of Envoy. In it, `$ENVOY` is the real one.
fn fake_envoy_script(dir: &Path, script: &str) -> Result<String> {
    let path = dir.join("envoy.sh");
    let envoy = paths::envoy_command()?.join(" ");
    fs::write(&path, format!("#!/bin/sh\nENVOY='{envoy}'\n{script}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

/// Logs in and requests the account from the application.
async fn check_login(demo: &Demo) -> Result<String> {
    let form = Call::post_form(
        "/login",
        &[("username", "demo"), ("password", "demo-password")],
    );
    let origin = format!("http://{}", demo.http);
    let login = form.header("origin", &origin).send(demo.http).await?;
    let cookie = login.set_cookie("berth").ok_or("no login")?;
    let whoami = Call::get("/api/whoami")
        .cookie(&cookie)
        .send(demo.http)
        .await?;
    assert_eq!(whoami.status, 200, "{}", whoami.text());
    Ok(cookie)
}

async fn await_no_process(dir: &Path) -> Result<()> {
    let gone = || async { remaining_processes(dir).ok()?.is_empty().then_some(()) };
    let awaited = wait::poll_until("no process is left", END_TIMEOUT, gone).await;
    awaited.map_err(|e| format!("{e}: {:?}", remaining_processes(dir)).into())
}

#[tokio::test]
async fn it_prints_ready_once_and_sigterm_leaves_no_process() -> Result<()> {
    let mut demo = start_demo().await?;
    let line = demo
        .process
        .wait_for_line("ready: http://127.0.0.1:", START_TIMEOUT)
        .await?;
    assert!(
        remaining_processes(demo.dir.path())?.len() >= 2,
        "nothing runs at {line}"
    );
    assert!(
        demo.process.terminate(END_TIMEOUT),
        "SIGTERM was not obeyed"
    );
    await_no_process(demo.dir.path()).await?;
    let log = demo.process.log();
    assert_eq!(log.matches("ready: ").count(), 1, "{log}");
    assert!(!log.contains("had to be killed"), "{log}");
    Ok(())
}

#[tokio::test]
async fn even_sigkill_leaves_no_process() -> Result<()> {
    let mut demo = start_demo().await?;
    demo.process.wait_for_line("ready: ", START_TIMEOUT).await?;
    // Kills the process alone, not its group: then only the kernel can clean up.
    let pid = demo.process.pid().to_string();
    assert!(
        Command::new("kill")
            .args(["-KILL", &pid])
            .status()?
            .success()
    );
    await_no_process(demo.dir.path()).await
}

#[tokio::test]
async fn an_exit_of_a_child_is_reported_and_ends_everything() -> Result<()> {
    let mut demo = start_demo().await?;
    demo.process.wait_for_line("ready: ", START_TIMEOUT).await?;
    let config = demo.dir.path().join("run/berth.yaml").display().to_string();
    let mut kill = Command::new("pkill");
    kill.args(["-KILL", "-f", &format!("serve --config {config}")]);
    assert!(kill.status()?.success());
    let status = demo.process.wait(END_TIMEOUT).ok_or("it went on")?;
    assert!(!status.success());
    let log = demo.process.log();
    assert!(log.contains("berth-run: berth has ended"), "{log}");
    await_no_process(demo.dir.path()).await
}

#[tokio::test]
async fn an_envoy_with_a_hanging_worker_is_killed_and_restarted() -> Result<()> {
    let scripts = tempfile::tempdir()?;
    // The shipped watchdog with shorter times. Envoy's second argument is its configuration.
    let script = r#"sed -i '/"kill_timeout"/s/30s/2s/' "$2" && exec $ENVOY "$@""#;
    let envoy = fake_envoy_script(scripts.path(), script)?;
    let module = paths::trapping_module()?.display().to_string();
    let mut demo = start_demo_with(&[("ENVOY_PATH", &envoy), ("BERTH_WASM", &module)]).await?;
    demo.process.wait_for_line("ready: ", START_TIMEOUT).await?;
    let cookie = check_login(&demo).await?;
    let spin = Call::get("/api/whoami")
        .cookie(&cookie)
        .header("trap-for-tests", "spin");
    assert!(
        spin.send(demo.http).await.is_err(),
        "a worker that hangs answers nothing"
    );
    demo.process
        .wait_for_line("  envoy has ended (signal: 6", START_TIMEOUT)
        .await?;
    demo.process
        .wait_for_line("  Envoy on ", START_TIMEOUT)
        .await?;
    check_login(&demo).await?;
    assert!(
        demo.process.terminate(END_TIMEOUT),
        "SIGTERM was not obeyed"
    );
    await_no_process(demo.dir.path()).await
}

#[tokio::test]
async fn an_envoy_that_exits_at_each_start_ends_everything_and_its_log_is_printed() -> Result<()> {
    let scripts = tempfile::tempdir()?;
    let script = format!(
        "if [ -e {0} ]; then echo 'not this configuration' >&2; exit 1; fi\ntouch {0}\nexec $ENVOY \"$@\"",
        scripts.path().join("started").display()
    );
    let envoy = fake_envoy_script(scripts.path(), &script)?;
    let mut demo = start_demo_with(&[("ENVOY_PATH", &envoy)]).await?;
    demo.process.wait_for_line("ready: ", START_TIMEOUT).await?;
    kill_envoy(&demo)?;
    let status = demo.process.wait(START_TIMEOUT).ok_or("it went on")?;
    assert!(!status.success());
    let log = demo.process.log();
    let end = log
        .split("so everything ends")
        .nth(1)
        .ok_or_else(|| log.clone())?;
    assert!(end.contains("not this configuration"), "{log}");
    await_no_process(demo.dir.path()).await
}

#[tokio::test]
async fn sigterm_ends_everything_while_envoy_restarts() -> Result<()> {
    let scripts = tempfile::tempdir()?;
    let script = format!(
        "if [ -e {0} ]; then touch {1}; sleep 600; fi\ntouch {0}\nexec $ENVOY \"$@\"",
        scripts.path().join("started").display(),
        scripts.path().join("hangs").display()
    );
    let envoy = fake_envoy_script(scripts.path(), &script)?;
    let mut demo = start_demo_with(&[("ENVOY_PATH", &envoy)]).await?;
    demo.process.wait_for_line("ready: ", START_TIMEOUT).await?;
    kill_envoy(&demo)?;
    let hangs = || async { scripts.path().join("hangs").exists().then_some(()) };
    wait::poll_until("the second start", START_TIMEOUT, hangs).await?;
    assert!(
        demo.process.terminate(END_TIMEOUT),
        "SIGTERM was not obeyed"
    );
    await_no_process(demo.dir.path()).await
}

#[test]
fn arguments_are_explained_and_checked() -> Result<()> {
    let run = |args: &[&str]| -> Result<(Option<i32>, String)> {
        let output = Command::new(paths::binary("berth-run")?)
            .args(args)
            .output()?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.code(), String::from_utf8(text)?))
    };
    let (code, help) = run(&["--help"])?;
    assert_eq!(code, Some(0), "{help}");
    assert!(
        help.contains("--render-inline") && help.contains("BERTH_HTTP_PORT"),
        "{help}"
    );
    for wrong in [&["--port", "1"][..], &["start"], &["--render-inline"]] {
        let (code, error) = run(wrong)?;
        assert_eq!(code, Some(2), "{wrong:?}: {error}");
    }
    Ok(())
}
