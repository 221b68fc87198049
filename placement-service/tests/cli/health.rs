//! `berth health`: the health check of containers.

use crate::running_service::RunningService;
use crate::{run_berth, write_config};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

/// Answers one request with this head and body. Returns the URL of the server and the request that it received.
fn answer_once(head: &'static str, body: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8(request[..length].to_vec()).unwrap();
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        sender.send(request).unwrap();
    });
    (url, received)
}

#[test]
fn health_succeeds_only_while_the_service_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let secret = "an-operator-secret";
    let ops = format!(
        "api: {{ clients: [ {{ name: ops, role: operator, secret: {{ inline: {secret} }} }} ] }}"
    );
    let file = write_config(dir.path(), &ops);
    let served = RunningService::start(&file);
    let file = file.to_str().unwrap();
    let health = |url: &str| run_berth(&["health", "--config", file, "--service", url], "");
    let url = format!("http://{}", served.address);
    let (code, out, err) = health(&url);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        answer,
        json!({"ready": true, "store": true, "store_writable": true, "fleet": true})
    );
    served.terminate();
    let (code, out, err) = health(&url);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.starts_with(&format!("the service at {url}: ")), "{err}");

    let (url, received) = answer_once("503 Service Unavailable", r#"{"ready":false}"#);
    let expected = format!("the service at {url}: 503 Service Unavailable: {{\"ready\":false}}\n");
    assert_eq!(health(&url), (Some(1), String::new(), expected));
    let request = received.recv().unwrap();
    assert!(request.starts_with("GET /health/ready "), "{request}");
    assert!(!request.contains(secret), "{request}");
}
