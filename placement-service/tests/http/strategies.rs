//! Where each strategy places sessions, the slow start of a new engine, and the learned cost of a document, all seen
//! through placements and explanations.

use crate::engines::{place_and_get_engine, request_as_operator};
use crate::events::CLIENTS;
use crate::site::{Site, eventually};
use berth_engine_sim::{Document, Engine, Options};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tempfile::TempDir;

/// Memory that the document takes, in MB.
const DOCUMENT_MB: u32 = 4_000;

struct TestFleet {
    site: Site,
    session: String,
    engines: Vec<Engine>,
    /// The engines' entries in the discovery file.
    entries: Vec<Value>,
    dir: TempDir,
}

/// Starts an engine with this CPU load. Returns it with its entry for the discovery file.
async fn start_engine(name: &str, base_cpu: f64) -> (Engine, Value) {
    let engine = berth_engine_sim::start(Options {
        documents: vec![Document::new("sales.qvf", DOCUMENT_MB)],
        base_cpu,
        ..Options::default()
    });
    let engine = engine.await.unwrap();
    let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
    let entry = json!({"name": name, "ip": "127.0.0.1", "port": port, "metrics_port": metrics});
    (engine, entry)
}

fn write_engine_list(dir: &TempDir, engines: &[Value]) {
    let (next, list) = (dir.path().join("next"), dir.path().join("engines.json"));
    std::fs::write(&next, json!({ "engines": engines }).to_string()).unwrap();
    std::fs::rename(next, list).unwrap();
}

impl TestFleet {
    /// Starts engines with this CPU load each and a pool with these settings, and logs in.
    async fn start(engines: &[(&str, f64)], pool: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut running, mut entries) = (Vec::new(), Vec::new());
        for (name, base_cpu) in engines {
            let (engine, entry) = start_engine(name, *base_cpu).await;
            running.push(engine);
            entries.push(entry);
        }
        write_engine_list(&dir, &entries);
        let list = dir.path().join("engines.json");
        let yaml = format!(
            "{CLIENTS}\npools: [ {{ name: qix, driver: qix, cluster: c, {pool}, discovery: {{ file: {{ path: {}, poll: 100ms }} }} }} ]\n\
             routes: [ {{ path: \"/app/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }} }} ]",
            list.display()
        );
        let site = Site::start(&yaml).await;
        let fleet = Self {
            session: site.login().await,
            site,
            engines: running,
            entries,
            dir,
        };
        for (name, _) in engines {
            fleet
                .wait_until(name, "is up", |e| e["state"] == "ok")
                .await;
        }
        fleet
    }

    /// Starts one more engine.
    async fn add_engine(&mut self, name: &str) {
        let (engine, entry) = start_engine(name, 0.0).await;
        self.engines.push(engine);
        self.entries.push(entry);
        write_engine_list(&self.dir, &self.entries);
        self.wait_until(name, "is up", |e| e["state"] == "ok").await;
    }

    /// Places one session per tab, one after the other. Returns the number of sessions per engine.
    async fn place_tabs(&self, tabs: std::ops::Range<u32>) -> BTreeMap<String, u32> {
        let mut placed = BTreeMap::new();
        for tab in tabs {
            let engine = place_and_get_engine(&self.site, &self.session, &format!("t{tab}")).await;
            *placed.entry(engine).or_default() += 1;
        }
        placed
    }

    async fn explain(&self) -> Value {
        let path = "/v1/placements/explain?path=/app/sales.qvf";
        let explained = request_as_operator(&self.site, Method::GET, path).await;
        assert_eq!(explained.status, 200, "{explained:?}");
        explained.json()
    }

    /// The entry of one engine in the explanation; null when the engine is absent.
    async fn candidate(&self, name: &str) -> Value {
        let explained = self.explain().await;
        let mut engines = explained["engines"].as_array().unwrap().iter();
        let found = engines.find(|e| e["engine"] == name);
        found.cloned().unwrap_or_default()
    }

    async fn wait_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let what = format!("{name} {what}");
        eventually(&what, async || holds(&self.candidate(name).await)).await;
    }
}

fn session_counts<const N: usize>(pairs: [(&str, u32); N]) -> BTreeMap<String, u32> {
    pairs.map(|(name, count)| (name.to_owned(), count)).into()
}

#[tokio::test]
async fn packed_fills_engines_in_the_order_of_their_numbers() {
    let engines = [("e-10", 0.0), ("e-2", 0.0), ("e-1", 0.0)];
    let fleet = TestFleet::start(&engines, "strategy: packed, capacity: { per_engine: 3 }").await;
    let expected = session_counts([("e-1", 3), ("e-2", 3), ("e-10", 1)]);
    assert_eq!(fleet.place_tabs(0..7).await, expected);
}

#[tokio::test]
async fn round_robin_ignores_the_load() {
    let engines = [("a", 0.9), ("b", 0.0), ("c", 0.5)];
    let fleet = TestFleet::start(
        &engines,
        "strategy: round-robin, weights: { sessions: 1, memory: 1, cpu: 1, document: 0 }",
    )
    .await;
    let expected = session_counts([("a", 2), ("b", 2), ("c", 2)]);
    assert_eq!(fleet.place_tabs(0..6).await, expected);
}

#[tokio::test]
async fn p2c_never_picks_the_busiest_engine() {
    let engines = [("a", 0.1), ("b", 0.1), ("busy", 0.9)];
    let fleet = TestFleet::start(
        &engines,
        "strategy: p2c, weights: { sessions: 0.5, memory: 0.3, cpu: 0.5, document: 0 }",
    )
    .await;
    let explained = fleet.explain().await;
    assert_eq!(explained["reason"], "p2c");
    let mut selected: Vec<_> = explained["engines"].as_array().unwrap().iter().collect();
    selected.retain(|e| e["outcome"] == "selected");
    assert_eq!(selected.len(), 1);
    assert_ne!(selected[0]["engine"], "busy");
    let placed = fleet.place_tabs(0..6).await;
    assert!(!placed.contains_key("busy"), "{placed:?}");
}

#[tokio::test]
async fn a_new_engine_gets_no_session_at_first_with_slow_start_and_the_next_one_without() {
    for (slow_start, gets) in [("1h", 0), ("0s", 1)] {
        let pool = format!("slow_start: {slow_start}, weights: {{ document: 0 }}");
        let mut fleet = TestFleet::start(&[("a", 0.0), ("b", 0.0)], &pool).await;
        assert_eq!(
            fleet.place_tabs(0..4).await,
            session_counts([("a", 2), ("b", 2)])
        );
        fleet.add_engine("new").await;
        let new = fleet.candidate("new").await;
        let outcome = if gets == 0 { "warming-up" } else { "selected" };
        assert_eq!(new["outcome"], outcome, "{new}");
        let placed = fleet.place_tabs(4..5).await;
        assert_eq!(placed.get("new").copied().unwrap_or(0), gets, "{placed:?}");
    }
}

#[tokio::test]
async fn the_cost_of_a_document_on_one_engine_applies_to_another_before_its_probe() {
    let pool = "weights: { sessions: 1, memory: 0.1, cpu: 0, document: 0 }";
    let fleet = TestFleet::start(&[("a", 0.0), ("b", 0.0)], pool).await;
    let first = fleet.place_tabs(0..1).await.into_keys().next().unwrap();
    let second = if first == "a" { "b" } else { "a" };
    let share = f64::from(DOCUMENT_MB) / 16_384.0;
    let free = |engine: &Value| engine["memory_free"].as_f64().unwrap();
    let seen = |e: &Value| e["reserved"] == 0 && free(e) < 1.0 - share;
    fleet
        .wait_until(&first, "has loaded the document", seen)
        .await;
    let before = free(&fleet.candidate(second).await);
    assert!(before > 0.9, "{before}");
    assert_eq!(fleet.place_tabs(1..2).await, session_counts([(second, 1)]));
    let after = fleet.candidate(second).await;
    assert!(free(&after) < before - share / 2.0, "{before} {after}");
}
