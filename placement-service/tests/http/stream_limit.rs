//! The limit of streams per login session or program account in a pool (429 `too-many-streams`), and what frees a
//! slot.

use crate::engines::{operator, placement};
use crate::events::CLIENTS;
use crate::gateway_events::later;
use crate::placements::program_token;
use crate::site::{Answer, Site, answer, eventually};
use berth_engine_sim::{Document, Options};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// An engine that accepts every connection and sends nothing.
pub(crate) struct SilentEngine {
    pub(crate) port: u16,
    accepting: JoinHandle<()>,
}

impl SilentEngine {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        Self { port, accepting }
    }

    /// YAML of a pool `name` with this engine as `e`.
    pub(crate) fn pool(&self, name: &str, more: &str) -> String {
        let port = self.port;
        format!(
            "  - {{ name: {name}, driver: websocket, cluster: c, {more} discovery: {{ static: [ {{ name: e, ip: 127.0.0.1, port: {port} }} ] }} }}\n"
        )
    }
}

impl Drop for SilentEngine {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a site with these settings of `placement` and these pools of the engine, each with its own settings.
async fn start(placement: &str, engine: &SilentEngine, pools: &[(&str, &str)]) -> Site {
    let site = Site::start(&yaml(placement, engine, pools)).await;
    is_ready(&site).await;
    site
}

fn yaml(placement: &str, engine: &SilentEngine, pools: &[(&str, &str)]) -> String {
    let mut yaml = format!(
        "{CLIENTS}placement: {{ engine_timeout: 10s, deadline: 60s, {placement} }}\npools:\n"
    );
    for (name, more) in pools {
        yaml += &engine.pool(name, more);
    }
    yaml += "routes:\n";
    for (name, _) in pools {
        yaml += &format!("  - {{ path: /{name}, pool: {name} }}\n");
    }
    yaml
}

async fn is_ready(site: &Site) {
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
}

pub(crate) async fn place(site: &Site, session: &str, path: &str) -> Answer {
    let body = json!({"session": session, "method": "GET", "path": path, "host": "h"});
    site.post_json("/v1/placements", body).await
}

/// The name of the placed stream.
pub(crate) fn stream(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["stream"].as_str().unwrap().to_owned()
}

/// Waits until the site counts `count` streams of the session, including those of other replicas.
pub(crate) async fn counts(site: &Site, session_ref: &str, count: usize) {
    let path = format!("/v1/placements/explain?path=/p&session={session_ref}");
    eventually(&format!("{count} streams are counted"), async || {
        operator(site, Method::GET, &path).await.json()["streams"] == count
    })
    .await;
}

#[track_caller]
pub(crate) fn is_refused(answer: &Answer) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let told = (answer.reason(), answer.header("retry-after"));
    assert_eq!(told, ("too-many-streams".to_owned(), "5"));
}

/// Sends a gateway's report with this sequence number.
pub(crate) async fn report(site: &Site, gateway: &str, sequence: u64, mut report: Value) {
    report["sequence"] = json!(sequence);
    let path = format!("/v1/gateways/{gateway}/events");
    let answer = site.post_json(&path, report).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub(crate) fn opened(streams: &[String], session_ref: &str, pool: &str) -> Value {
    let open = |stream| {
        json!({"stream": stream, "session_ref": session_ref, "pool": pool, "engine": "e",
            "opened_at": 1_700_000_000})
    };
    json!({ "opened": streams.iter().map(open).collect::<Vec<_>>() })
}

pub(crate) fn closed(streams: &[String]) -> Value {
    let closed = |stream| json!({"stream": stream, "reason": "ended", "duration_ms": 1});
    json!({ "closed": streams.iter().map(closed).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_session_gets_200_of_300_concurrent_placements_and_one_more_per_closed_stream() {
    let engine = SilentEngine::start().await;
    let site = start("", &engine, &[("p", "")]).await;
    let (id, other) = (site.login().await, site.login().await);
    let answers = join_all((0..300).map(|_| place(&site, &id, "/p"))).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!(placed.len(), 200, "{:?}", refused.first());
    refused.iter().for_each(|answer| is_refused(answer));
    let of = |name: &str| format!("berth_placements_total{{pool=\"p\",outcome=\"{name}\"}} ");
    assert_eq!(site.metric(&of("too-many-streams")).await, 100);
    let refusals = "berth_refusals_total{reason=\"too-many-streams\"} ";
    assert_eq!(site.metric(refusals).await, 100);
    stream(&place(&site, &other, "/p").await);

    // The streams open now. That changes nothing.
    let streams: Vec<_> = placed.iter().map(|answer| stream(answer)).collect();
    let session_ref = site.session_ref(&id).await;
    report(&site, "g", 1, opened(&streams, &session_ref, "p")).await;
    is_refused(&place(&site, &id, "/p").await);
    let why = "/v1/placements/explain?path=/p&session=";
    let why = operator(&site, Method::GET, &format!("{why}{session_ref}")).await;
    let why = why.json();
    let told = (&why["engine"], &why["reason"], &why["streams"]);
    assert_eq!(
        told,
        (&Value::Null, &json!("too-many-streams"), &json!(200))
    );

    report(&site, "g", 2, closed(&streams[..10])).await;
    let answers = join_all((0..30).map(|_| place(&site, &id, "/p"))).await;
    assert_eq!(answers.iter().filter(|a| a.status == 200).count(), 10);
}

#[tokio::test]
async fn a_pool_can_have_its_own_limit_and_0_means_unlimited() {
    let engine = SilentEngine::start().await;
    let pools = [
        ("few", "max_streams_per_session: 2,"),
        ("free", "max_streams_per_session: 0,"),
        ("usual", ""),
    ];
    let site = start("max_streams_per_session: 3", &engine, &pools).await;
    let id = site.login().await;
    for (path, most) in [("/free", 250), ("/few", 2), ("/usual", 3)] {
        let answers = join_all((0..250).map(|_| place(&site, &id, path))).await;
        let placed = answers.iter().filter(|a| a.status == 200).count();
        assert_eq!(placed, most, "{path}");
    }
    let none = start("max_streams_per_session: 0", &engine, &[("p", "")]).await;
    let id = none.login().await;
    let answers = join_all((0..250).map(|_| place(&none, &id, "/p"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}

#[tokio::test]
async fn a_resumed_tab_counts_and_a_failed_placement_does_not() {
    let options = Options {
        documents: vec![Document::new("sales.qvf", 100)],
        ..Options::default()
    };
    let engine = berth_engine_sim::start(options).await.unwrap();
    let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
    let site = Site::start(&format!(
        "pools: [ {{ name: qix, driver: qix, cluster: c, max_streams_per_session: 3, discovery: {{ static:
           [ {{ name: e, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }} ] }} }} ]
routes: [ {{ path: \"/app/{{document}}\", pool: qix, open: {{ document: \"{{document}}\" }} }} ]"
    ))
    .await;
    is_ready(&site).await;
    let id = site.login().await;
    let place = async || site.post_json("/v1/placements", placement(&id, "t1")).await;
    for path in ["/app/missing.qvf", "/app/lost.qvf"] {
        for _ in 0..4 {
            let missing = self::place(&site, &id, path).await;
            assert_eq!(missing.reason(), "no-such-document");
        }
    }
    let reasons = [place().await, place().await, place().await].map(|answer| {
        stream(&answer);
        answer.json()["reason"].clone()
    });
    assert_eq!(reasons, ["least-load", "resumed", "resumed"]);
    is_refused(&place().await);
}

#[tokio::test]
async fn slots_of_a_silent_gateway_and_of_an_unreported_stream_are_freed() {
    let engine = SilentEngine::start().await;
    let site = start(
        "reservation_ttl: 60s, max_streams_per_session: 2",
        &engine,
        &[("p", "")],
    )
    .await;
    let id = site.login().await;
    let session_ref = site.session_ref(&id).await;
    let reported = stream(&place(&site, &id, "/p").await);
    report(&site, "g", 1, opened(&[reported], &session_ref, "p")).await;
    stream(&place(&site, &id, "/p").await);
    is_refused(&place(&site, &id, "/p").await);
    later(Duration::from_secs(35)).await;
    eventually("the gateway's stream is gone", async || {
        place(&site, &id, "/p").await.status == 200
    })
    .await;
    is_refused(&place(&site, &id, "/p").await);
    // This advances the monotonic clock, by which reservations expire. The wall clock is not affected.
    later(Duration::from_secs(30)).await;
    counts(&site, &session_ref, 0).await;
}

#[tokio::test]
async fn streams_reported_to_a_new_process_count() {
    let engine = SilentEngine::start().await;
    let settings = "max_streams_per_session: 2, max_streams_per_bearer: 1";
    let pools = [("p", "")];
    let site = start(settings, &engine, &pools).await;
    let id = site.login().await;
    let session_ref = site.session_ref(&id).await;
    let robot = by_program(&site, json!({"jti": "1"})).await;
    let robot_ref = robot.json()["session_ref"].as_str().unwrap().to_owned();
    let site = site.restart(&yaml(settings, &engine, &pools)).await;
    is_ready(&site).await;
    let streams = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    report(&site, "g", 1, opened(&streams, &session_ref, "p")).await;
    report(&site, "g", 2, opened(&[stream(&robot)], &robot_ref, "p")).await;
    // More streams are open than the limit allows. None is closed for that.
    is_refused(&place(&site, &id, "/p").await);
    report(&site, "g", 3, closed(&streams[..1])).await;
    is_refused(&place(&site, &id, "/p").await);
    report(&site, "g", 4, closed(&streams[1..2])).await;
    stream(&place(&site, &id, "/p").await);
    // Programs count by account, so another token of the same account is refused, too.
    is_refused(&by_program(&site, json!({"jti": "2"})).await);
}

/// Places with a program's own token.
async fn by_program(site: &Site, claims: Value) -> Answer {
    let token = program_token(&claims);
    let body = json!({"token": token, "method": "GET", "path": "/p", "host": "h"});
    site.post_json("/v1/placements", body).await
}

#[tokio::test]
async fn programs_count_by_account_whatever_their_token() {
    let engine = SilentEngine::start().await;
    let settings = "max_streams_per_session: 2, max_streams_per_bearer: 3";
    let site = start(settings, &engine, &[("p", "")]).await;
    let tokens = (0..10).map(|n| by_program(&site, json!({"jti": n.to_string()})));
    let answers = join_all(tokens).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!(placed.len(), 3);
    refused.iter().for_each(|answer| is_refused(answer));
    stream(&by_program(&site, json!({"sub": "other"})).await);
    let closed_one = closed(&[stream(placed[0])]);
    report(&site, "g", 1, closed_one).await;
    stream(&by_program(&site, json!({"jti": "later"})).await);
    is_refused(&by_program(&site, json!({"jti": "last"})).await);

    // A session's own token counts for the session.
    let id = site.login().await;
    let token = site.token(&id).await.json();
    let body = json!({"token": token["token"], "method": "GET", "path": "/p", "host": "h"});
    stream(&site.post_json("/v1/placements", body.clone()).await);
    stream(&place(&site, &id, "/p").await);
    is_refused(&place(&site, &id, "/p").await);
    is_refused(&site.post_json("/v1/placements", body).await);
}

#[tokio::test]
async fn a_placement_of_a_disconnected_gateway_frees_its_slot() {
    let engine = SilentEngine::start().await;
    // The pool is full after the first placement, so the second one waits.
    let pool = "capacity: { per_engine: 1 }, queue: { max_length: 10, timeout: 30s }, max_streams_per_session: 2,";
    let site = start("", &engine, &[("p", pool)]).await;
    let id = site.login().await;
    stream(&place(&site, &id, "/p").await);
    let body = json!({"session": id, "method": "GET", "path": "/p", "host": "h"}).to_string();
    let request = site.request(Method::POST, "/v1/placements").body(body);
    let waiting = tokio::spawn(answer(request));
    eventually("the placement waits", async || {
        site.metric("berth_placement_queue_length{pool=\"p\"} ")
            .await
            == 1
    })
    .await;
    is_refused(&place(&site, &id, "/p").await);
    waiting.abort();
    counts(&site, &site.session_ref(&id).await, 1).await;
}
