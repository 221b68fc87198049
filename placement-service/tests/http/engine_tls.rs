//! Engines behind TLS: the service probes them and prepares sessions there, and sends nothing to a server with another
//! certificate.

use crate::placements::session_placement_body;
use crate::site::{Site, eventually, send_request};
use berth_engine_sim::{Document, Engine, Options};
use berth_harness::certificate::Authority;
use berth_harness::tls_terminator::TlsTerminator;
use reqwest::Method;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;

const NAME: &str = "engines.internal";

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
    let (servers, clients) = (Authority::new().unwrap(), Authority::new().unwrap());
    std::fs::write(files.path().join("engines-ca.pem"), servers.pem()).unwrap();
    clients
        .issue("berth.internal")
        .unwrap()
        .write(files.path(), "client")
        .unwrap();
    let engine = start_engine().await;
    let start = async |authority: &Authority, name: &str| {
        let issued = authority.issue(name).unwrap();
        TlsTerminator::start(engine.api_addr(), &issued, &clients)
            .await
            .unwrap()
    };
    let good = start(&servers, NAME).await;
    let renamed = start(&servers, "other.internal").await;
    let forged = start(&Authority::new().unwrap(), NAME).await;
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
    assert_eq!(forged.accepted(), 0, "no handshake succeeds");
    assert_eq!(engine.sessions().len(), 1);
}

#[tokio::test]
async fn unusable_files_are_faults_of_their_setting() {
    let files = tempfile::tempdir().unwrap();
    let authority = Authority::new().unwrap();
    authority
        .issue("a")
        .unwrap()
        .write(files.path(), "a")
        .unwrap();
    authority
        .issue("b")
        .unwrap()
        .write(files.path(), "b")
        .unwrap();
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
