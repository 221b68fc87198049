//! The binary: the line that it prints, its flags, and how it ends.

use crate::client::{TIMEOUT, get_json, send_http};
use std::{net::SocketAddr, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

async fn start_process(flags: &[&str]) -> (Child, SocketAddr, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_engine-sim"))
        .args(["--api", "127.0.0.1:0", "--metrics", "127.0.0.1:0"])
        .args(flags)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(TIMEOUT, lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let addresses = line.strip_prefix("listening api=").unwrap();
    let (api, metrics) = addresses.split_once(" metrics=").unwrap();
    (child, api.parse().unwrap(), metrics.parse().unwrap())
}

async fn exit_code(child: &mut Child) -> Option<i32> {
    timeout(TIMEOUT, child.wait())
        .await
        .unwrap()
        .unwrap()
        .code()
}

#[tokio::test]
async fn flags_set_name_documents_and_faults() {
    let flags = [
        "--name",
        "e7",
        "--document",
        "a.qvf=70",
        "--saturated",
        "--wrong-json",
        "junk",
    ];
    let (_child, api, metrics) = start_process(&flags).await;
    assert_eq!(get_json(metrics, "/admin/stats").await["name"], "e7");
    assert_eq!(get_json(metrics, "/admin/faults").await["saturated"], true);
    assert!(
        send_http(api, "GET", "/healthcheck", "")
            .await
            .1
            .starts_with('<')
    );
}

#[tokio::test]
async fn a_signal_ends_it_with_success() {
    for signal in ["TERM", "INT"] {
        let (mut child, ..) = start_process(&[]).await;
        let pid = child.id().unwrap().to_string();
        let signal_status = Command::new("kill")
            .args(["-s", signal, &pid])
            .status()
            .await;
        assert!(signal_status.unwrap().success());
        assert_eq!(exit_code(&mut child).await, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn the_flag_die_ends_it_with_its_own_exit_code() {
    let (mut child, ..) = start_process(&["--die"]).await;
    assert_eq!(exit_code(&mut child).await, Some(70));
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let (_child, api, _) = start_process(&[]).await;
    let second_process = Command::new(env!("CARGO_BIN_EXE_engine-sim"))
        .args(["--api", &api.to_string(), "--metrics", "127.0.0.1:0"])
        .output();
    let output = timeout(TIMEOUT, second_process).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("engine-sim: "));
}
