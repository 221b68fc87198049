//! Health, metrics, and the answers to requests without a route.

use crate::site::{Site, send_request};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn readiness_reports_store_and_fleet() {
    let site = Site::start("").await;
    assert_eq!(site.get("/health/live", "").await.text, "ok\n");
    let ready = site.get("/health/ready", "").await;
    assert_eq!(ready.status, 200);
    assert_eq!(
        ready.json(),
        json!({"ready": true, "store": true, "store_writable": true, "fleet": true})
    );
}

#[tokio::test]
async fn readiness_waits_for_the_fleet() {
    // This listener accepts connections and sends nothing, so the first probe takes its whole timeout.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let yaml = format!(
        "probe: {{ timeout: 60s, interval: 60s }}\n\
         pools: [ {{ name: p, driver: qix, cluster: c, discovery: {{ static: [\
         {{ name: e, ip: 127.0.0.1, port: {port} }} ] }} }} ]",
    );
    let site = Site::start(&yaml).await;
    let ready = site.get("/health/ready", "").await;
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json(),
        json!({"ready": false, "store": true, "store_writable": true, "fleet": false})
    );
}

#[tokio::test]
async fn logins_sessions_refusals_and_requests_are_counted() {
    let site = Site::start("").await;
    let id = site.login().await;
    send_request(site.post_form("/login", "username=demo&password=wrong")).await;
    let logout = site.request(Method::POST, "/logout");
    send_request(logout.header("cookie", format!("berth={id}"))).await;
    site.token(&id).await;
    site.get("/some/where", "").await;
    let metrics = site.get("/metrics", "").await;
    assert!(
        metrics
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    for line in [
        "berth_logins_total{result=\"ok\"} 1",
        "berth_logins_total{result=\"wrong-password\"} 1",
        "berth_sessions_created_total 1",
        "berth_sessions_ended_total{cause=\"logout\"} 1",
        "berth_refusals_total{reason=\"unknown-session\"} 1",
        "berth_refusals_total{reason=\"login-failed\"} 1",
        "berth_http_requests_total{route=\"/v1/tokens\",status=\"401\"} 1",
        "berth_http_requests_total{route=\"/login\",status=\"303\"} 1",
        "berth_http_requests_total{route=\"other\",status=\"404\"} 1",
    ] {
        assert!(
            metrics.text.lines().any(|l| l == line),
            "{line}\n{}",
            metrics.text
        );
    }
    assert!(metrics.text.ends_with("# EOF\n"));
    assert!(!metrics.text.contains(&id) && !metrics.text.contains("demo"));
}

#[tokio::test]
async fn a_request_without_a_route_gets_a_problem() {
    let site = Site::start("").await;
    let nothing = site.get("/nothing", "").await;
    assert_eq!(
        (nothing.status, nothing.reason().as_str()),
        (404, "not-found")
    );
    for (method, path, allow) in [
        (Method::DELETE, "/login", "GET,HEAD,POST"),
        (Method::GET, "/logout", "POST"),
        (Method::GET, "/v1/tokens", "POST"),
    ] {
        let wrong = send_request(site.request(method, path)).await;
        assert_eq!(
            (wrong.status, wrong.reason().as_str()),
            (405, "method-not-allowed")
        );
        assert_eq!(wrong.header("allow"), allow);
    }
}
