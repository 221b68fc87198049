//! The placement use case with its simulated engines.

use berth_api::RejectReason;
use berth_engine_sim::{Document, Engine, Options};
use berth_placement::config::load;
use berth_placement::core::clock::SystemClock;
use berth_placement::core::rejection::Rejection;
use berth_placement::engines::drivers::transport::EngineTransport;
use berth_placement::placement::{PlaceRequest, Placement, PlacementService};
use berth_placement::sessions::LiveSession;
use berth_scheduler::engine::State;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Upper bound of every wait in these tests.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Settings of the engines, of the pool and of the whole configuration.
pub(crate) struct SiteOptions {
    pub(crate) engines: usize,
    pub(crate) driver: &'static str,
    pub(crate) cluster: &'static str,
    /// More lines of the pool, with their indentation.
    pub(crate) pool: &'static str,
    /// More lines of the configuration.
    pub(crate) config: &'static str,
    pub(crate) options: fn(&mut Options),
}

impl Default for SiteOptions {
    fn default() -> Self {
        Self {
            engines: 3,
            driver: "qix",
            cluster: "engines",
            pool: "",
            config: "",
            options: |_| {},
        }
    }
}

pub(crate) struct Site {
    pub(crate) engines: Vec<Engine>,
    pub(crate) placer: Arc<PlacementService>,
    pub(crate) registry: Registry,
    session: Arc<LiveSession>,
}

impl Site {
    /// Starts the engines and the placement use case, and waits until all engines have been probed.
    pub(crate) async fn start(setting: SiteOptions) -> Self {
        let mut engines = Vec::new();
        let mut list = String::new();
        for n in 0..setting.engines {
            let mut options = Options {
                name: format!("engine-{n}"),
                documents: vec![Document::new("sales.qvf", 100)],
                ..Options::default()
            };
            (setting.options)(&mut options);
            let engine = berth_engine_sim::start(options).await.unwrap();
            list += &format!(
                "        - {{ name: engine-{n}, ip: 127.0.0.1, port: {}, metrics_port: {} }}\n",
                engine.api_addr().port(),
                engine.metrics_addr().port()
            );
            engines.push(engine);
        }
        let SiteOptions {
            driver,
            cluster,
            pool,
            config: more,
            ..
        } = setting;
        let (document, session_app) = match driver {
            "qix" => ("{ document: \"{document}\" }", "session-app"),
            _ => ("nothing", "nothing"),
        };
        // All placements of a test belong to one session.
        let yaml = format!(
            "{more}\n\
             pools:\n\
             \x20 - name: main\n\
             \x20   driver: {driver}\n\
             \x20   cluster: \"{cluster}\"\n\
             \x20   max_streams_per_session: 0\n\
             {pool}\n\
             \x20   discovery:\n\
             \x20     static:\n{list}\n\
             routes:\n\
             \x20 - {{ path: \"/app/{{document}}\", pool: main, open: {document} }}\n\
             \x20 - {{ path: /doc/session-doc, pool: main, open: {session_app} }}\n",
        );
        let config = load::from_text(&yaml).unwrap().config;
        let mut registry = Registry::with_prefix("berth");
        let clock = Arc::new(SystemClock);
        let issue_token = Box::new(|_: &LiveSession| Some("no.token.needed".to_owned()));
        let transports = vec![EngineTransport::default(); config.pools.len()];
        let placer = PlacementService::start(
            &config,
            &transports,
            clock,
            &mut registry,
            None,
            None,
            issue_token,
        )
        .unwrap();
        let site = Self {
            engines,
            placer,
            registry,
            session: Arc::new(LiveSession {
                session_ref: "ref".into(),
                ..LiveSession::default()
            }),
        };
        let mut fleet = site.placer.fleet().clone();
        timeout(TIMEOUT, fleet.wait_for(|f| f.is_initialized()))
            .await
            .unwrap();
        site
    }

    pub(crate) async fn place(&self, path: &str) -> Result<Placement, Rejection> {
        self.place_as("no.token.needed", path).await
    }

    pub(crate) async fn place_as(&self, token: &str, path: &str) -> Result<Placement, Rejection> {
        let request = PlaceRequest {
            upgrade: true,
            session: &self.session,
            token,
            host: "",
            path,
            tab: None,
        };
        self.placer.place(request).await
    }

    /// Places for this login session and this tab.
    pub(crate) async fn place_in_tab(
        &self,
        session: &str,
        path: &str,
        tab: Option<&str>,
    ) -> Result<Placement, Rejection> {
        let session = Arc::new(LiveSession {
            session_ref: session.to_owned(),
            ..LiveSession::default()
        });
        let request = PlaceRequest {
            upgrade: true,
            session: &session,
            token: "no.token.needed",
            host: "",
            path,
            tab,
        };
        self.placer.place(request).await
    }

    pub(crate) async fn place_error_reason(&self, path: &str) -> RejectReason {
        self.place(path).await.unwrap_err().reason
    }

    /// The engine with this name.
    pub(crate) fn engine(&self, name: &str) -> &Engine {
        let named = |e: &&Engine| e.stats().name == name;
        self.engines.iter().find(named).unwrap()
    }

    /// Waits until the probe reports this state of the engine.
    pub(crate) async fn wait_for_state(&self, name: &str, state: State) {
        let mut fleet = self.placer.fleet().clone();
        let seen = fleet.wait_for(|f| {
            let mut engines = f.pools()[0].engines.iter();
            engines.any(|e| e.name.as_str() == name && e.state == state)
        });
        timeout(TIMEOUT, seen).await.unwrap();
    }

    /// The sum of the sessions that count although no probe has seen them yet.
    pub(crate) fn count_reserved(&self) -> u32 {
        let now = tokio::time::Instant::now();
        let fleet = self.placer.fleet().snapshot();
        let engines = fleet.pools()[0].engines.iter();
        engines.map(|e| e.accounting.snapshot(now).reserved).sum()
    }

    /// The text of the metrics page.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

/// Polls until a condition holds that has no event to wait for.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(TIMEOUT, holds).await.is_ok(), "never: {what}");
}
