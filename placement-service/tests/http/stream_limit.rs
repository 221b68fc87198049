//! The limit of streams per login session or program account in a pool (429 `too-many-streams`), and what frees a
//! slot.

use crate::engines::{placement_body, request_as_operator};
use crate::events::CLIENTS;
use crate::reporting_gateway::advance_monotonic_clock;
use crate::site::{Answer, Site, eventually, send_request};
use crate::token_placements::program_token;
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
async fn start_site(placement: &str, engine: &SilentEngine, pools: &[(&str, &str)]) -> Site {
    let site = Site::start(&site_yaml(placement, engine, pools)).await;
    wait_until_ready(&site).await;
    site
}

fn site_yaml(placement: &str, engine: &SilentEngine, pools: &[(&str, &str)]) -> String {
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

async fn wait_until_ready(site: &Site) {
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
}

pub(crate) async fn request_placement(site: &Site, session: &str, path: &str) -> Answer {
    let body = json!({"session": session, "method": "GET", "path": path, "host": "h"});
    site.post_json("/v1/placements", body).await
}

/// The name of the placed stream.
pub(crate) fn placed_stream(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["stream"].as_str().unwrap().to_owned()
}

/// Waits until the site counts `count` streams of the session, including those of other replicas.
pub(crate) async fn wait_for_stream_count(site: &Site, session_ref: &str, count: usize) {
    let path = format!("/v1/placements/explain?path=/p&session={session_ref}");
    eventually(&format!("{count} streams are counted"), async || {
        request_as_operator(site, Method::GET, &path).await.json()["streams"] == count
    })
    .await;
}

#[track_caller]
pub(crate) fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let actual = (answer.reason(), answer.header("retry-after"));
    assert_eq!(actual, ("too-many-streams".to_owned(), "5"));
}

/// Sends a gateway's report with this sequence number.
pub(crate) async fn send_report(site: &Site, gateway: &str, sequence: u64, mut report: Value) {
    report["sequence"] = json!(sequence);
    let path = format!("/v1/gateways/{gateway}/events");
    let answer = site.post_json(&path, report).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

pub(crate) fn opened_report(streams: &[String], session_ref: &str, pool: &str) -> Value {
    let open = |stream| {
        json!({"stream": stream, "session_ref": session_ref, "pool": pool, "engine": "e",
            "opened_at": 1_700_000_000})
    };
    json!({ "opened": streams.iter().map(open).collect::<Vec<_>>() })
}

pub(crate) fn closed_report(streams: &[String]) -> Value {
    let closed = |stream| json!({"stream": stream, "reason": "ended", "duration_ms": 1});
    json!({ "closed": streams.iter().map(closed).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_session_gets_200_of_300_concurrent_placements_and_one_more_per_closed_stream() {
    let engine = SilentEngine::start().await;
    let site = start_site("", &engine, &[("p", "")]).await;
    let (id, other) = (site.login().await, site.login().await);
    let answers = join_all((0..300).map(|_| request_placement(&site, &id, "/p"))).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!(placed.len(), 200, "{:?}", refused.first());
    refused.iter().for_each(|answer| assert_refused(answer));
    let of = |name: &str| format!("berth_placements_total{{pool=\"p\",outcome=\"{name}\"}} ");
    assert_eq!(site.metric(&of("too-many-streams")).await, 100);
    let refusals = "berth_refusals_total{reason=\"too-many-streams\"} ";
    assert_eq!(site.metric(refusals).await, 100);
    placed_stream(&request_placement(&site, &other, "/p").await);

    // The streams open now. That changes nothing.
    let streams: Vec<_> = placed.iter().map(|answer| placed_stream(answer)).collect();
    let session_ref = site.session_ref(&id).await;
    send_report(&site, "g", 1, opened_report(&streams, &session_ref, "p")).await;
    assert_refused(&request_placement(&site, &id, "/p").await);
    let why = "/v1/placements/explain?path=/p&session=";
    let why = request_as_operator(&site, Method::GET, &format!("{why}{session_ref}")).await;
    let why = why.json();
    let actual = (&why["engine"], &why["reason"], &why["streams"]);
    assert_eq!(
        actual,
        (&Value::Null, &json!("too-many-streams"), &json!(200))
    );

    send_report(&site, "g", 2, closed_report(&streams[..10])).await;
    let answers = join_all((0..30).map(|_| request_placement(&site, &id, "/p"))).await;
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
    let site = start_site("max_streams_per_session: 3", &engine, &pools).await;
    let id = site.login().await;
    for (path, limit) in [("/free", 250), ("/few", 2), ("/usual", 3)] {
        let answers = join_all((0..250).map(|_| request_placement(&site, &id, path))).await;
        let placed = answers.iter().filter(|a| a.status == 200).count();
        assert_eq!(placed, limit, "{path}");
    }
    let none = start_site("max_streams_per_session: 0", &engine, &[("p", "")]).await;
    let id = none.login().await;
    let answers = join_all((0..250).map(|_| request_placement(&none, &id, "/p"))).await;
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
    wait_until_ready(&site).await;
    let id = site.login().await;
    let place = async || {
        site.post_json("/v1/placements", placement_body(&id, "t1"))
            .await
    };
    for path in ["/app/missing.qvf", "/app/lost.qvf"] {
        for _ in 0..4 {
            let missing = request_placement(&site, &id, path).await;
            assert_eq!(missing.reason(), "no-such-document");
        }
    }
    let reasons = [place().await, place().await, place().await].map(|answer| {
        placed_stream(&answer);
        answer.json()["reason"].clone()
    });
    assert_eq!(reasons, ["least-load", "resumed", "resumed"]);
    assert_refused(&place().await);
}

#[tokio::test]
async fn slots_of_a_silent_gateway_and_of_an_unreported_stream_are_freed() {
    let engine = SilentEngine::start().await;
    let site = start_site(
        "reservation_ttl: 60s, max_streams_per_session: 2",
        &engine,
        &[("p", "")],
    )
    .await;
    let id = site.login().await;
    let session_ref = site.session_ref(&id).await;
    let reported = placed_stream(&request_placement(&site, &id, "/p").await);
    send_report(&site, "g", 1, opened_report(&[reported], &session_ref, "p")).await;
    placed_stream(&request_placement(&site, &id, "/p").await);
    assert_refused(&request_placement(&site, &id, "/p").await);
    advance_monotonic_clock(Duration::from_secs(35)).await;
    eventually("the gateway's stream is gone", async || {
        request_placement(&site, &id, "/p").await.status == 200
    })
    .await;
    assert_refused(&request_placement(&site, &id, "/p").await);
    // This advances the monotonic clock, by which reservations expire. The wall clock is not affected.
    advance_monotonic_clock(Duration::from_secs(30)).await;
    wait_for_stream_count(&site, &session_ref, 0).await;
}

#[tokio::test]
async fn streams_reported_to_a_new_process_count() {
    let engine = SilentEngine::start().await;
    let settings = "max_streams_per_session: 2, max_streams_per_bearer: 1";
    let pools = [("p", "")];
    let site = start_site(settings, &engine, &pools).await;
    let id = site.login().await;
    let session_ref = site.session_ref(&id).await;
    let robot = place_as_program(&site, json!({"jti": "1"})).await;
    let robot_ref = robot.json()["session_ref"].as_str().unwrap().to_owned();
    let site = site.restart(&site_yaml(settings, &engine, &pools)).await;
    wait_until_ready(&site).await;
    let streams = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    send_report(&site, "g", 1, opened_report(&streams, &session_ref, "p")).await;
    send_report(
        &site,
        "g",
        2,
        opened_report(&[placed_stream(&robot)], &robot_ref, "p"),
    )
    .await;
    // More streams are open than the limit allows. None is closed for that.
    assert_refused(&request_placement(&site, &id, "/p").await);
    send_report(&site, "g", 3, closed_report(&streams[..1])).await;
    assert_refused(&request_placement(&site, &id, "/p").await);
    send_report(&site, "g", 4, closed_report(&streams[1..2])).await;
    placed_stream(&request_placement(&site, &id, "/p").await);
    // Programs count by account, so another token of the same account is refused, too.
    assert_refused(&place_as_program(&site, json!({"jti": "2"})).await);
}

/// Places with a program's own token.
async fn place_as_program(site: &Site, claims: Value) -> Answer {
    let token = program_token(&claims);
    let body = json!({"token": token, "method": "GET", "path": "/p", "host": "h"});
    site.post_json("/v1/placements", body).await
}

#[tokio::test]
async fn programs_count_by_account_whatever_their_token() {
    let engine = SilentEngine::start().await;
    let settings = "max_streams_per_session: 2, max_streams_per_bearer: 3";
    let site = start_site(settings, &engine, &[("p", "")]).await;
    let tokens = (0..10).map(|n| place_as_program(&site, json!({"jti": n.to_string()})));
    let answers = join_all(tokens).await;
    let (placed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|a| a.status == 200);
    assert_eq!(placed.len(), 3);
    refused.iter().for_each(|answer| assert_refused(answer));
    placed_stream(&place_as_program(&site, json!({"sub": "other"})).await);
    let closed_one = closed_report(&[placed_stream(placed[0])]);
    send_report(&site, "g", 1, closed_one).await;
    placed_stream(&place_as_program(&site, json!({"jti": "later"})).await);
    assert_refused(&place_as_program(&site, json!({"jti": "last"})).await);

    // A session's own token counts for the session.
    let id = site.login().await;
    let token = site.token(&id).await.json();
    let body = json!({"token": token["token"], "method": "GET", "path": "/p", "host": "h"});
    placed_stream(&site.post_json("/v1/placements", body.clone()).await);
    placed_stream(&request_placement(&site, &id, "/p").await);
    assert_refused(&request_placement(&site, &id, "/p").await);
    assert_refused(&site.post_json("/v1/placements", body).await);
}

#[tokio::test]
async fn a_placement_of_a_disconnected_gateway_frees_its_slot() {
    let engine = SilentEngine::start().await;
    // The pool is full after the first placement, so the second one waits.
    let pool = "capacity: { per_engine: 1 }, queue: { max_length: 10, timeout: 30s }, max_streams_per_session: 2,";
    let site = start_site("", &engine, &[("p", pool)]).await;
    let id = site.login().await;
    placed_stream(&request_placement(&site, &id, "/p").await);
    let body = json!({"session": id, "method": "GET", "path": "/p", "host": "h"}).to_string();
    let request = site.request(Method::POST, "/v1/placements").body(body);
    let waiting = tokio::spawn(send_request(request));
    eventually("the placement waits", async || {
        site.metric("berth_placement_queue_length{pool=\"p\"} ")
            .await
            == 1
    })
    .await;
    assert_refused(&request_placement(&site, &id, "/p").await);
    waiting.abort();
    wait_for_stream_count(&site, &site.session_ref(&id).await, 1).await;
}
