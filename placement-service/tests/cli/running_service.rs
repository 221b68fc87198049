//! A service that runs as a process of its own.

use super::berth_command;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub(super) struct RunningService {
    child: Child,
    pub(super) address: String,
    /// The file that receives standard error.
    log: PathBuf,
}

impl RunningService {
    pub(super) fn start(file: &Path) -> Self {
        let log = file.with_extension("log");
        let file = file.to_str().unwrap();
        let mut command = berth_command(&["serve", "--config", file, "--listen", "127.0.0.1:0"]);
        command.stderr(File::create(&log).unwrap());
        let command = command.stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening http=");
        let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self {
            child,
            address,
            log,
        }
    }

    pub(super) fn post(&self, path: &str, body: Value) -> String {
        self.send("POST", path, "application/json", &body.to_string())
    }

    pub(super) fn send(&self, method: &str, path: &str, content_type: &str, body: &str) -> String {
        send_request(&self.address, method, path, content_type, body)
    }

    /// Sends SIGTERM. Returns the exit code and the whole log.
    pub(super) fn terminate(mut self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let code = self.child.wait().unwrap().code();
        (code, std::fs::read_to_string(&self.log).unwrap())
    }
}

/// Sends a request on a connection of its own; returns the whole response.
pub(super) fn send_request(
    address: &str,
    method: &str,
    path: &str,
    content_type: &str,
    body: &str,
) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!("Content-Type: {content_type}\r\nConnection: close\r\nHost: h");
    let request =
        format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
