//! The real process with a low limit of open files, and more clients than that limit which send no complete request.

use crate::call_gateway::{DEFAULT_WINDOW, Gateway, token_request_body};
use crate::connections::{PARTIAL_REQUESTS, connect};
use berth_api::TOKENS_PATH;
use berth_placement::core::http_client;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PASSWORD: &str = "a-long-password";
const OPEN_FILES: usize = 256;
const INCOMPLETE_CONNECTIONS: usize = 500;

/// A service with a low limit of open files. Its soft limit starts at a quarter of the hard limit.
struct LimitedService {
    child: Child,
    address: SocketAddr,
}

impl LimitedService {
    fn start(config: &Path) -> Self {
        let berth = env!("CARGO_BIN_EXE_berth");
        let add = ["account", "add", "demo", "--password-stdin", "--config"];
        let mut add = command(berth, &add, config)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut password = add.stdin.take().unwrap();
        password.write_all(PASSWORD.as_bytes()).unwrap();
        drop(password);
        assert!(add.wait().unwrap().success());
        let limited = format!(
            "ulimit -Sn {}; ulimit -Hn {OPEN_FILES}; exec \"$@\"",
            OPEN_FILES / 4
        );
        let serve = [
            "-c",
            &limited,
            "sh",
            berth,
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--config",
        ];
        let mut serve = command("sh", &serve, config);
        let serve = serve.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = serve.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening http=").unwrap();
        let address = address.parse().unwrap();
        Self { child, address }
    }

    fn open_files(&self) -> usize {
        let all = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        all.unwrap().count()
    }

    async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        // A new client opens a new connection.
        let client = http_client::client_builder().build().unwrap();
        let request = client
            .post(format!("http://{}{path}", self.address))
            .json(body);
        request.send().await.unwrap()
    }

    /// Terminates the service. Returns the whole log.
    fn terminate(mut self) -> String {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let mut log = String::new();
        let mut err = self.child.stderr.take().unwrap();
        err.read_to_string(&mut log).unwrap();
        self.child.wait().unwrap();
        log
    }
}

fn command(program: &str, args: &[&str], config: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(args).arg(config);
    command
        .env_remove("BERTH_CONFIG")
        .env("BERTH_TOKEN_KEY", "k".repeat(40));
    command
}

#[tokio::test]
async fn five_hundred_incomplete_requests_do_not_block_other_clients() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("berth.yaml");
    let store = dir.path().join("berth.db");
    let yaml = format!(
        "store: {{ kind: sqlite, path: {}, timeout: 10s }}\n\
         session: {{ cookie: {{ secure: false }} }}\n\
         http: {{ request_timeout: 600s }}\n",
        store.display()
    );
    std::fs::write(&config, yaml).unwrap();
    let service = LimitedService::start(&config);
    let mut calls = Gateway::connect(service.address, &[], DEFAULT_WINDOW).await;
    let report = async |sequence, cursor: &str| {
        let body = json!({"sequence": sequence, "cursor": cursor, "poll_timeout_ms": 2_000});
        let answer = service.post("/v1/gateways/g/events", &body).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    let here = report(1, "now").await;
    let poll = report(2, here["cursor"].as_str().unwrap());
    let others = async {
        let mut strangers = Vec::new();
        for request in PARTIAL_REQUESTS.iter().cycle().take(INCOMPLETE_CONNECTIONS) {
            strangers.push(connect(service.address, request).await);
        }
        let credentials = json!({"username": "demo", "password": PASSWORD});
        let login = service.post("/login", &credentials).await;
        let cookie = login.headers()["set-cookie"].to_str().unwrap();
        let id = cookie.split(['=', ';']).nth(1).unwrap();
        let token = service.post(TOKENS_PATH, &json!({ "session": id })).await;
        assert_eq!(token.status(), 200);
        calls.call(1, TOKENS_PATH, token_request_body(id));
        assert_eq!(calls.next_reply().await.unwrap().status, 200);
        let open_files = service.open_files();
        // The service has raised its soft limit, and it leaves room for engines and stores.
        let usual = OPEN_FILES / 4..OPEN_FILES - OPEN_FILES / 8;
        assert!(usual.contains(&open_files), "{open_files}");
        strangers
    };
    let (poll, strangers) = tokio::join!(poll, others);
    assert!(poll["cursor"].is_string());
    drop(strangers);
    let log = service.terminate();
    let lines = log
        .lines()
        .filter(|line| line.contains("too many connections"));
    assert_eq!(lines.count(), 1, "{log}");
}
