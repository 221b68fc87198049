//! Engines behind TLS: the service probes them and prepares sessions there, and sends nothing to a server with another
//! certificate.

use crate::certificates::Authority;
use crate::placements::session_placement_body;
use crate::site::{Site, eventually, send_request};
use berth_engine_sim::{Document, Engine, Options};
use reqwest::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const NAME: &str = "engines.internal";

/// A TLS server in front of an engine. It asks for certificates of clients.
struct Terminator {
    address: SocketAddr,
    /// Connections that have completed the handshake.
    accepted: Arc<AtomicUsize>,
}

async fn start_terminator(
    engine: SocketAddr,
    servers: &Authority,
    clients: &Authority,
    name: &str,
) -> Terminator {
    let issued = servers.issue(name);
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counter) = (acceptor.clone(), counter.clone());
            tokio::spawn(async move {
                let Ok(mut client) = acceptor.accept(stream).await else {
                    return;
                };
                counter.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(engine).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    Terminator { address, accepted }
}

async fn start_engine() -> Engine {
    berth_engine_sim::start(Options {
        jwt_secret: Some("k".repeat(40)),
        documents: vec![Document::new("sales.qvf", 100)],
        ..Options::default()
    })
    .await
    .unwrap()
}

/// A site with pools of one engine each.
async fn start_site(directory: &Path, engines: &[(&str, &str, SocketAddr)]) -> Site {
    let folder = directory.display();
    let pools = engines.iter().map(|(name, driver, address)| {
        format!(
            "  - name: {name}
    driver: {driver}
    cluster: {name}
    tls: {{ ca: {folder}/engines-ca.pem, name: {NAME}, certificate: {folder}/client.pem, key: {folder}/client.key }}
    discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {} }} ] }}
",
            address.port()
        )
    });
    let pools: String = pools.collect();
    let routes = engines.iter().map(|(name, driver, _)| {
        let open = if *driver == "qix" {
            ", open: { document: \"{document}\" }"
        } else {
            ""
        };
        format!("  - {{ path: \"/{name}/{{document}}\", pool: {name}{open} }}\n")
    });
    let routes: String = routes.collect();
    Site::start(&format!(
        "{}pools:\n{pools}routes:\n{routes}",
        crate::events::CLIENTS
    ))
    .await
}

async fn engine_state(site: &Site, pool: &str) -> Value {
    let request = site.request(Method::GET, "/v1/engines");
    let request = request.header("authorization", "Bearer operator-secret-1");
    let listed = send_request(request).await.json();
    let mut engines = listed["engines"].as_array().unwrap().iter();
    engines.find(|engine| engine["pool"] == pool).unwrap()["state"].clone()
}

#[tokio::test]
async fn engines_are_probed_and_prepared_over_tls_and_only_with_the_configured_name() {
    let files = tempfile::tempdir().unwrap();
    let (servers, clients) = (Authority::new(), Authority::new());
    std::fs::write(files.path().join("engines-ca.pem"), servers.pem()).unwrap();
    clients
        .issue("berth.internal")
        .write(files.path(), "client");
    let engine = start_engine().await;
    let good = start_terminator(engine.api_addr(), &servers, &clients, NAME).await;
    let renamed = start_terminator(engine.api_addr(), &servers, &clients, "other.internal").await;
    let forged = start_terminator(engine.api_addr(), &Authority::new(), &clients, NAME).await;
    let site = start_site(
        files.path(),
        &[
            ("qix", "qix", good.address),
            ("plain", "websocket", good.address),
            ("renamed", "websocket", renamed.address),
            ("forged", "qix", forged.address),
            ("clear", "qix", engine.api_addr()),
        ],
    )
    .await;
    eventually("the engines are probed", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    for (pool, state) in [
        ("qix", "ok"),
        ("plain", "ok"),
        ("renamed", "unhealthy"),
        ("forged", "unhealthy"),
        ("clear", "unhealthy"),
    ] {
        eventually(pool, async || engine_state(&site, pool).await == state).await;
    }
    let id = site.login().await;
    let place = async |path: &str| {
        let body = session_placement_body(&id, path);
        site.post_json("/v1/placements", body).await
    };
    let placed = place("/qix/sales.qvf").await;
    assert_eq!(placed.status, 200, "{placed:?}");
    assert_eq!(placed.json()["destination"], good.address.to_string());
    let session = engine.sessions().remove(0);
    assert_eq!(placed.json()["set_headers"]["x-qlik-session"], session.id);
    let placed = place("/plain/x").await;
    assert_eq!(placed.status, 200, "{placed:?}");
    for path in ["/forged/sales.qvf", "/clear/sales.qvf", "/renamed/x"] {
        assert_eq!(place(path).await.status, 503, "{path}");
    }
    assert_eq!(
        forged.accepted.load(Ordering::Relaxed),
        0,
        "no handshake succeeds"
    );
    assert_eq!(engine.sessions().len(), 1);
}

#[tokio::test]
async fn unusable_files_are_faults_of_their_setting() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    authority.issue("a").write(files.path(), "a");
    authority.issue("b").write(files.path(), "b");
    std::fs::write(files.path().join("empty.pem"), "").unwrap();
    let folder = files.path().display();
    let yaml = format!(
        "tls: {{ certificate: {folder}/a.pem, key: {folder}/b.key }}
pools:
  - {{ name: p, driver: qix, cluster: e, discovery: {{ static: [] }}, tls: {{ ca: {folder}/empty.pem, name: e }} }}
  - {{ name: q, driver: qix, cluster: f, discovery: {{ static: [] }}, tls: {{ ca: {folder}/none.pem, name: e }} }}
"
    );
    let config = berth_placement::config::load::from_text(&yaml)
        .unwrap()
        .config;
    let key = |name: &str| (name == "BERTH_TOKEN_KEY").then(|| "k".repeat(40));
    let faults = berth_placement::app::secrets::fetch(&config, &key)
        .err()
        .unwrap();
    let text = faults.to_string();
    let missing = format!("pools[1].tls.ca: {folder}/none.pem: ");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..2],
        [
            "tls.key: does not belong to the certificate",
            "pools[0].tls.ca: contains no certificate in PEM",
        ]
    );
    assert!(lines[2].starts_with(&missing), "{text}");
    assert_eq!(lines.len(), 3);
}
