//! Which engine session a placement resumes.

use crate::site::{Site, SiteOptions, eventually};
use berth_engine_sim::{Document, Options};
use berth_placement::config::load;
use berth_placement::core::clock::SystemClock;
use berth_placement::engines::fleet::{Fleet, FleetReader, PoolFleet};
use berth_placement::placement::{
    PlaceRequest, Placement, PlacementService, REPLACED, RESUMED, SHARED,
};
use berth_placement::sessions::LiveSession;
use berth_scheduler::accounting::{AccountingRegistry, EngineAccounting};
use berth_scheduler::engine::{Endpoint, Engine, EngineName, State};
use prometheus_client::registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

const PATH: &str = "/app/sales.qvf?berth_tab=x";

fn engine_session_id(placed: &Placement) -> &str {
    &placed.set_headers["x-qlik-session"]
}

/// The number of engine sessions created so far.
fn count_created_sessions(site: &Site) -> u64 {
    site.engines.iter().map(|e| e.stats().created_total).sum()
}

#[tokio::test]
async fn a_tab_resumes_its_engine_session_and_nothing_is_opened_again() {
    let site = Site::start(SiteOptions::default()).await;
    let first = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    assert_eq!(first.reason, "least-load");
    let asked = site.engine(&first.engine).stats().requests_total;
    for _ in 0..5 {
        let again = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
        assert_eq!(again.reason, RESUMED);
        assert_eq!(
            (&again.engine, engine_session_id(&again)),
            (&first.engine, engine_session_id(&first))
        );
        assert_ne!(again.stream, first.stream);
    }
    assert_eq!(count_created_sessions(&site), 1);
    let engine = site.engine(&first.engine);
    assert_eq!(engine.stats().requests_total, asked, "no OpenDoc");
    assert_eq!(
        engine.sessions()[0].ttl,
        60,
        "the check does not shorten its TTL"
    );
    // A placement that differs in anything gets its own session.
    for (session, path, tab) in [
        ("ann", PATH, Some("t2")),
        ("bob", PATH, Some("t1")),
        ("ann", PATH, None),
        ("ann", PATH, None),
        ("ann", "/doc/session-doc", Some("t1")),
        ("ann", "/app/engineData", Some("t1")),
    ] {
        let other = site.place_in_tab(session, path, tab).await.unwrap();
        assert_eq!(other.reason, "least-load");
        assert_ne!(engine_session_id(&other), engine_session_id(&first));
    }
    assert_eq!(count_created_sessions(&site), 7);
    let metrics = site.metrics();
    let line = r#"berth_placement_reasons_total{pool="main",reason="resumed"} 5"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_lost_engine_session_is_replaced_and_the_check_leaves_nothing_behind() {
    let site = Site::start(SiteOptions {
        engines: 2,
        // Sessions end with their sockets.
        options: |o| o.max_session_ttl = 0,
        ..SiteOptions::default()
    })
    .await;
    let first = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    let none_left = || site.engines.iter().all(|e| e.stats().sessions == 0);
    eventually("the session is gone", none_left).await;
    let second = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    assert_eq!(second.reason, REPLACED);
    assert_ne!(engine_session_id(&second), engine_session_id(&first));
    eventually("nothing is left", none_left).await;
}

#[tokio::test]
async fn an_engine_that_is_down_is_replaced() {
    let site = Site::start(SiteOptions::default()).await;
    let first = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    site.engine(&first.engine).faults().set(|f| f.refuse = true);
    let second = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    assert_eq!(second.reason, REPLACED);
    assert_ne!(second.engine, first.engine);
    site.engine(&first.engine)
        .faults()
        .set(|f| f.refuse = false);
    let third = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    assert_eq!(
        (third.reason, engine_session_id(&third)),
        (RESUMED, engine_session_id(&second))
    );
}

#[tokio::test]
async fn a_drained_engine_is_replaced() {
    let site = Site::start(SiteOptions::default()).await;
    let first = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    for engine in site.placer.fleet().snapshot().pools()[0].engines.iter() {
        engine
            .accounting
            .set_draining(engine.name.as_str() == first.engine);
    }
    for _ in 0..6 {
        let other = site.place_in_tab("bob", PATH, None).await.unwrap();
        assert_ne!(other.engine, first.engine);
    }
    let second = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    assert_eq!(second.reason, REPLACED);
    assert_ne!(second.engine, first.engine);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_placements_that_share_a_document_have_one_engine_session() {
    let site = Arc::new(
        Site::start(SiteOptions {
            pool: "    sharing: per-document",
            config: "placement: { engine_timeout: 9s }",
            ..SiteOptions::default()
        })
        .await,
    );
    let mut tasks = JoinSet::new();
    for tab in 0..10 {
        let site = Arc::clone(&site);
        let tab = (tab % 2 == 0).then(|| format!("t{tab}"));
        tasks.spawn(async move {
            site.place_in_tab("ann", PATH, tab.as_deref())
                .await
                .unwrap()
        });
    }
    let all = tasks.join_all().await;
    let mut reasons: BTreeMap<&str, u32> = BTreeMap::new();
    for placed in &all {
        *reasons.entry(placed.reason).or_default() += 1;
        assert_eq!(engine_session_id(placed), engine_session_id(&all[0]));
    }
    assert_eq!(reasons, BTreeMap::from([("least-load", 1), (SHARED, 9)]));
    assert_eq!(count_created_sessions(&site), 1);
    let bob = site.place_in_tab("bob", PATH, None).await.unwrap();
    assert_ne!(
        engine_session_id(&bob),
        engine_session_id(&all[0]),
        "another login session"
    );
    for _ in 0..2 {
        let app = site
            .place_in_tab("ann", "/doc/session-doc", None)
            .await
            .unwrap();
        assert_eq!(
            app.reason, "least-load",
            "a session app is a new one each time"
        );
    }
}

#[tokio::test]
async fn a_placement_cancelled_during_preparation_blocks_no_other() {
    let site = Site::start(SiteOptions::default()).await;
    for engine in &site.engines {
        engine.faults().set(|f| f.slow_open_ms = 3_600_000);
    }
    let left = site.place_in_tab("ann", PATH, Some("t1"));
    let left = tokio::time::timeout(Duration::from_millis(200), left).await;
    assert!(left.is_err(), "still preparing");
    for engine in &site.engines {
        engine.faults().set(|f| f.slow_open_ms = 0);
    }
    let again = site.place_in_tab("ann", PATH, Some("t1")).await.unwrap();
    assert_eq!(again.reason, "least-load");
}

#[tokio::test]
async fn a_tab_keeps_its_websocket_engine_while_that_engine_is_up() {
    let site = Site::start(SiteOptions {
        driver: "websocket",
        ..SiteOptions::default()
    })
    .await;
    let first = site
        .place_in_tab("ann", "/app/a?x=1", Some("t1"))
        .await
        .unwrap();
    for query in ["", "?x=2"] {
        let path = format!("/app/a{query}");
        let again = site.place_in_tab("ann", &path, Some("t1")).await.unwrap();
        assert_eq!(
            (again.reason, &again.engine, again.path),
            (RESUMED, &first.engine, path)
        );
    }
}

/// The set of engines changes a hundred times. Each tab whose engine still exists resumes there.
#[tokio::test]
async fn no_session_leaves_an_engine_that_stays() {
    const TABS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut random = StdRng::seed_from_u64(5);
    let mut sims = Vec::new();
    for n in 0..6 {
        let options = Options {
            name: format!("engine-{n}"),
            documents: vec![Document::new("sales.qvf", 100)],
            ..Options::default()
        };
        sims.push(berth_engine_sim::start(options).await.unwrap());
    }
    let found = |n: usize| {
        let name = EngineName::from(format!("engine-{n}").as_str());
        let endpoint = Endpoint {
            api: sims[n].api_addr(),
            metrics: None,
        };
        let accounting = Arc::new(EngineAccounting::new(Duration::from_secs(30)));
        Arc::new(Engine {
            state: State::Ok,
            ..Engine::new(name, endpoint, accounting)
        })
    };
    let config = load::from_text(
        "pools: [ { name: main, driver: qix, cluster: c, discovery: { static: [] } } ]\n\
         placement: { engine_timeout: 9s, max_streams_per_session: 0 }\n\
         routes: [ { path: \"/app/{document}\", pool: main, open: { document: \"{document}\" } } ]",
    );
    let (publish, fleet) = FleetReader::channel();
    let mut registry = Registry::with_prefix("berth");
    let clock = Arc::new(SystemClock);
    let accounting_registry = AccountingRegistry::new(Duration::from_secs(30));
    let fleet = (fleet, accounting_registry, None);
    let issue_token = Box::new(|_: &LiveSession| None);
    let config = config.unwrap().config;
    let placer = PlacementService::with_fleet(&config, clock, &mut registry, fleet, issue_token);
    let session = Arc::new(LiveSession {
        session_ref: "ann".into(),
        ..LiveSession::default()
    });
    let mut there: BTreeMap<usize, Arc<Engine>> = (0..3).map(|n| (n, found(n))).collect();
    let mut homes: BTreeMap<&str, Placement> = BTreeMap::new();
    let (mut resumed, mut replaced) = (0, 0);
    for round in 0..100 {
        if round > 0 {
            let n = random.random_range(0..sims.len());
            if there.len() == 1 || !there.contains_key(&n) {
                there.entry(n).or_insert_with(|| found(n));
            } else {
                there.remove(&n);
            }
        }
        let fleet = Fleet::new(vec![PoolFleet {
            name: "main".into(),
            discovered: true,
            current: true,
            engines: there.values().cloned().collect(),
        }]);
        publish.send_replace(Arc::new(fleet));
        for tab in TABS {
            let request = PlaceRequest {
                upgrade: true,
                session: &session,
                token: "no.token.needed",
                host: "",
                path: "/app/sales.qvf",
                tab: Some(tab),
            };
            let placed = placer.place(request).await.unwrap();
            if let Some(before) = homes.get(tab) {
                let stays = there.values().any(|e| e.name.as_str() == before.engine);
                if stays {
                    assert_eq!(placed.reason, RESUMED, "round {round}");
                    assert_eq!(placed.engine, before.engine);
                    assert_eq!(engine_session_id(&placed), engine_session_id(before));
                    resumed += 1;
                } else {
                    assert_eq!(placed.reason, REPLACED, "round {round}");
                    replaced += 1;
                }
            }
            homes.insert(tab, placed);
        }
    }
    assert_eq!(resumed + replaced, 99 * TABS.len());
    assert!(replaced > 20 && resumed > 400, "{replaced} {resumed}");
}
