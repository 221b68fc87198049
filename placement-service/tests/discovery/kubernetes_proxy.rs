//! A kubeconfig on a machine whose environment names a proxy. The service runs as a process, which has its own
//! environment.

use crate::TIMEOUT;
use crate::fake_kubernetes::{FakeApiServer, pod};
use berth_harness::certificate::Authority;
use berth_harness::process::Process;
use berth_harness::tls_terminator::TlsTerminator;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A proxy for `CONNECT` (RFC 9110, section 9.3.6).
struct ConnectProxy {
    address: SocketAddr,
    /// Connections so far.
    used: Arc<AtomicUsize>,
}

impl ConnectProxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let used = Arc::new(AtomicUsize::new(0));
        let counter = used.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(tunnel(BufReader::new(client)));
            }
        });
        Self { address, used }
    }
}

async fn tunnel(mut client: BufReader<TcpStream>) -> std::io::Result<()> {
    let mut head = String::new();
    while client.read_line(&mut head).await? > 2 {}
    let target = head.split(' ').nth(1).unwrap_or_default();
    let mut server = TcpStream::connect(target).await?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

/// Writes a kubeconfig for an API server behind TLS, with a certificate of the client, and a configuration with it.
fn write_files(folder: &Path, server: SocketAddr, proxy: Option<SocketAddr>) -> PathBuf {
    let file = |name: &str| folder.join(name);
    let mut cluster = json!({
        "server": format!("https://{server}"),
        "certificate-authority": file("ca.pem"),
    });
    if let Some(proxy) = proxy {
        cluster["proxy-url"] = json!(format!("http://user:proxy-password@{proxy}"));
    }
    let user = json!({"client-certificate": file("user.pem"), "client-key": file("user.key")});
    let context = json!({"cluster": "c", "user": "u", "namespace": "engines"});
    let access = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "x", "context": context}],
    });
    std::fs::write(file("kubeconfig"), access.to_string()).unwrap();
    let source = json!({"selector": "qix-engine", "port": 1, "kubeconfig": file("kubeconfig")});
    let pool = json!({"name": "p", "driver": "websocket", "cluster": "c", "discovery": {"kubernetes": source}});
    let config = json!({
        "store": {"kind": "sqlite", "path": file("berth.db")},
        "tokens": {"key": {"inline": "k".repeat(40)}},
        "pools": [pool],
        "log": {"format": "text"},
    });
    std::fs::write(file("berth.yaml"), config.to_string()).unwrap();
    file("berth.yaml")
}

async fn start_service(folder: &Path, config: &Path, proxy: SocketAddr) -> Process {
    let words = ["serve", "--listen", "127.0.0.1:0", "--config"].map(str::to_owned);
    let mut command = vec![env!("CARGO_BIN_EXE_berth").to_owned()];
    command.extend(words);
    command.push(config.display().to_string());
    let url = format!("http://{proxy}");
    let names = [
        "HTTPS_PROXY",
        "https_proxy",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
    ];
    let variables = names.map(|name| (name, url.as_str()));
    let mut process = Process::spawn_with("berth", &command, folder, &variables).unwrap();
    process.wait_for_line("listening ", TIMEOUT).await.unwrap();
    process
}

#[tokio::test]
async fn the_api_server_of_a_kubeconfig_is_reached_without_the_proxy_of_the_environment() {
    let fake = FakeApiServer::default();
    fake.put(pod("a", "127.0.0.1", true));
    let plain: SocketAddr = fake
        .serve()
        .await
        .cluster_url
        .authority()
        .unwrap()
        .as_str()
        .parse()
        .unwrap();
    let (servers, users) = (Authority::new().unwrap(), Authority::new().unwrap());
    let issued = servers.issue("127.0.0.1").unwrap();
    let server = TlsTerminator::start(plain, &issued, &users).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ca.pem"), servers.pem()).unwrap();
    users
        .issue("berth")
        .unwrap()
        .write(dir.path(), "user")
        .unwrap();
    let proxy = ConnectProxy::start().await;
    let config = write_files(dir.path(), server.address, None);
    let service = start_service(dir.path(), &config, proxy.address).await;
    let watched = timeout(TIMEOUT, fake.wait_for_watch()).await;
    assert!(watched.is_ok(), "{}", service.log());
    assert_eq!(proxy.used.load(Ordering::Relaxed), 0);
}

/// The service has no client for proxies. It must not reach the server past the proxy that the file names.
#[tokio::test]
async fn the_proxy_of_a_kubeconfig_is_a_fault_that_the_log_names() {
    let dir = tempfile::tempdir().unwrap();
    let (servers, users) = (Authority::new().unwrap(), Authority::new().unwrap());
    std::fs::write(dir.path().join("ca.pem"), servers.pem()).unwrap();
    users
        .issue("berth")
        .unwrap()
        .write(dir.path(), "user")
        .unwrap();
    let (server, proxy) = (ConnectProxy::start().await, ConnectProxy::start().await);
    let config = write_files(dir.path(), server.address, Some(proxy.address));
    let service = start_service(dir.path(), &config, proxy.address).await;
    let fault = "no access to Kubernetes: proxy-url of the kubeconfig is not supported";
    let logged = async {
        while !service.log().contains(fault) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let logged = timeout(TIMEOUT, logged).await;
    assert!(logged.is_ok(), "{}", service.log());
    assert!(!service.log().contains("proxy-password"));
    assert_eq!(server.used.load(Ordering::Relaxed), 0);
}
