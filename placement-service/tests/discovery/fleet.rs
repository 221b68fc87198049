//! A whole fleet: several discovery sources, engines that drain and disappear, metrics that become stale.

use berth_placement::config::load::from_text;
use berth_placement::engines::drivers::transport::EngineTransport;
use berth_placement::engines::fleet::metrics::{FleetCollector, ProbeMetrics};
use berth_placement::engines::fleet::{self, Fleet, FleetReader, FleetTask};
use berth_scheduler::accounting::AccountingRegistry;
use berth_scheduler::engine::State;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout};

pub(crate) struct TestFleet {
    pub(crate) fleet: FleetReader,
    registry: Registry,
    _task: FleetTask,
}

pub(crate) fn start_fleet(yaml: &str) -> TestFleet {
    let config = from_text(yaml).unwrap().config;
    let mut registry = Registry::with_prefix("berth");
    let metrics = ProbeMetrics::register(&mut registry);
    let ttl = config.placement.reservation_ttl;
    let transports: Vec<_> = config
        .pools
        .iter()
        .map(|_| EngineTransport::default())
        .collect();
    let (fleet, task) = fleet::start(
        &config.pools,
        &transports,
        &config.probe,
        AccountingRegistry::new(ttl),
        metrics,
        None,
        false,
    )
    .unwrap();
    registry.register_collector(Box::new(FleetCollector(fleet.clone())));
    TestFleet {
        fleet,
        registry,
        _task: task,
    }
}

impl TestFleet {
    pub(crate) async fn wait_until(&mut self, wanted: impl Fn(&Fleet) -> bool) {
        let until = timeout(crate::TIMEOUT, self.fleet.wait_for(wanted)).await;
        assert!(until.is_ok(), "{:?}", self.fleet.snapshot());
    }

    fn states(&self) -> Vec<(String, State)> {
        states(&self.fleet.snapshot())
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn states(fleet: &Fleet) -> Vec<(String, State)> {
    let engines = fleet.pools()[0].engines.iter();
    engines.map(|e| (e.name.to_string(), e.state)).collect()
}

/// Starts a server that accepts connections and closes them at once. Returns its port.
async fn start_listener() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    port
}

#[tokio::test]
async fn sources_are_merged_and_draining_engines_stay_until_they_are_gone() {
    let (one, two) = (start_listener().await, start_listener().await);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engines.yaml");
    let write = |text: &str| {
        std::fs::write(dir.path().join("new"), text).unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
    };
    // The first address belongs to the static engine, so its name and `draining` in the file have no effect.
    let both = |draining: bool| {
        format!(
            "engines:\n  - {{ name: x, ip: 127.0.0.1, port: {one}, draining: true }}\n  \
             - {{ name: b, ip: 127.0.0.1, port: {two}, draining: {draining} }}\n"
        )
    };
    write(&both(false));
    let mut watched = start_fleet(&format!(
        "probe: {{ interval: 100ms }}\npools:\n  - name: main\n    driver: websocket\n    cluster: c\n    discovery:\n      \
         - static: [ {{ name: a, ip: 127.0.0.1, port: {one} }} ]\n      \
         - file: {{ path: \"{}\", poll: 100ms }}\n      \
         - file: {{ path: \"/nowhere/engines.yaml\", poll: 100ms }}\n",
        path.display()
    ));
    let ok = [("a".to_owned(), State::Ok), ("b".to_owned(), State::Ok)];
    watched
        .wait_until(|fleet| fleet.is_initialized() && states(fleet) == ok)
        .await;
    write(&both(true));
    watched
        .wait_until(|fleet| states(fleet)[1].1 == State::Draining)
        .await;
    assert_eq!(watched.states()[0].1, State::Ok);
    write("engines: [broken");
    let failed = "berth_discovery_up{pool=\"main\",source=\"file\"} 0";
    let waited = timeout(crate::TIMEOUT, async {
        while !watched.metrics().contains(failed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "{}", watched.metrics());
    assert_eq!(watched.states().len(), 2);
    let text = watched.metrics();
    assert!(
        text.contains("berth_discovery_up{pool=\"main\",source=\"file-2\"} 0"),
        "{text}"
    );
    assert!(
        text.contains("berth_discovery_up{pool=\"main\",source=\"static\"} 1"),
        "{text}"
    );
    write("engines: []");
    watched.wait_until(|fleet| states(fleet).len() == 1).await;
}

#[tokio::test]
async fn when_all_metrics_are_stale_the_engines_stay_in_use() {
    let sessions = Arc::new(AtomicU16::new(7));
    let metrics = {
        let sessions = Arc::clone(&sessions);
        axum::routing::get(move || async move {
            match sessions.load(Ordering::SeqCst) {
                0 => Err(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
                n => Ok(format!("# HELP app_open Open.\napp_open {n}\n")),
            }
        })
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = axum::Router::new().route("/stats", metrics);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let mut watched = start_fleet(&format!(
        "probe: {{ interval: 100ms, timeout: 1s }}\npools:\n  - name: main\n    driver: websocket\n    cluster: c\n    \
         probe: {{ metrics: {{ path: /stats, sessions: app_open }} }}\n    \
         discovery: {{ static: [ {{ name: a, ip: 127.0.0.1, port: {port} }} ] }}\n"
    ));
    let engine = |fleet: &Fleet| Arc::clone(&fleet.pools()[0].engines[0]);
    let knows = |fleet: &Fleet| {
        let known = fleet.pools()[0].engines.first();
        known.is_some_and(|e| e.state == State::Ok && e.sessions(Instant::now()) == 7)
    };
    watched.wait_until(knows).await;
    assert!(
        watched
            .metrics()
            .contains("berth_pool_metrics_stale{pool=\"main\"} 0")
    );
    sessions.store(0, Ordering::SeqCst);
    watched
        .wait_until(|fleet| engine(fleet).state == State::NoMetrics)
        .await;
    // The last numbers stay valid for a while, then they expire.
    assert_eq!(
        engine(&watched.fleet.snapshot()).sessions(Instant::now()),
        7
    );
    watched
        .wait_until(|fleet| engine(fleet).metrics_stale())
        .await;
    // From then on the exported metric is Berth's own count, so autoscalers see that count too.
    let blind = engine(&watched.fleet.snapshot());
    blind.accounting.opened("stream", "r", Instant::now());
    let own = "berth_engine_sessions{pool=\"main\",engine=\"a\"} 1\n";
    assert!(watched.metrics().contains(own));
    assert_eq!(watched.states()[0].1, State::NoMetrics);
    assert!(
        watched
            .metrics()
            .contains("berth_pool_metrics_stale{pool=\"main\"} 1")
    );
    sessions.store(7, Ordering::SeqCst);
    watched.wait_until(knows).await;
    assert!(
        watched
            .metrics()
            .contains("berth_pool_metrics_stale{pool=\"main\"} 0")
    );
}
