//! A gateway that reports streams and polls events, as the filter does, and the requests around it.

use crate::site::{Answer, Site, eventually, send_request};
use berth_placement::core::clock::Clock;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(crate) const MINUTE_MS: u64 = 60_000;

/// A gateway that numbers its reports.
pub(crate) struct ReportingGateway<'a> {
    pub(crate) site: &'a Site,
    pub(crate) name: &'static str,
    pub(crate) sequence: u64,
    pub(crate) cursor: String,
    /// What it says of itself in each poll.
    pub(crate) identity: Value,
}

impl<'a> ReportingGateway<'a> {
    pub(crate) const fn new(site: &'a Site, name: &'static str) -> Self {
        Self {
            site,
            name,
            sequence: 0,
            cursor: String::new(),
            identity: Value::Null,
        }
    }

    pub(crate) async fn send_report(&mut self, mut report: Value) -> Value {
        self.sequence += 1;
        report["sequence"] = json!(self.sequence);
        let answer = post_report(self.site, self.name, &report).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Reports opened streams of a session.
    pub(crate) async fn report_opened(&mut self, session_ref: &str, streams: &[&str]) -> Value {
        let now = self.site.clock.now_s();
        let open = |name: &&str| json!({"stream": name, "session_ref": session_ref, "pool": "p", "engine": "e", "opened_at": now});
        let opened: Vec<_> = streams.iter().map(open).collect();
        self.send_report(json!({ "opened": opened })).await
    }

    /// Polls from the last cursor. Returns the answer.
    pub(crate) async fn poll(&mut self, poll_timeout_ms: u32) -> Value {
        let cursor = if self.cursor.is_empty() {
            "now"
        } else {
            &self.cursor
        };
        let answer = self
            .send_report(json!({"cursor": cursor, "poll_timeout_ms": poll_timeout_ms, "identity": self.identity}))
            .await;
        answer["cursor"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.cursor);
        answer
    }

    /// Polls until the event of the session's end arrives. Returns its reason and how long that took.
    pub(crate) async fn wait_for_session_end(&mut self, session_ref: &str) -> (String, Duration) {
        let started_at = Instant::now();
        loop {
            let answer = self.poll(5000).await;
            let events = answer["events"].as_array().cloned().unwrap_or_default();
            let found = events.iter().find(|e| e["session_ref"] == session_ref);
            if let Some(event) = found {
                assert_eq!(event["type"], "session-ended");
                return (
                    event["reason"].as_str().unwrap().to_owned(),
                    started_at.elapsed(),
                );
            }
            assert!(
                started_at.elapsed() < Duration::from_secs(30),
                "the event never arrives"
            );
        }
    }
}

pub(crate) async fn post_report(site: &Site, gateway: &str, report: &Value) -> Answer {
    let path = format!("/v1/gateways/{gateway}/events");
    site.post_json(&path, report).await
}

/// Waits until this number of gateways has reported. The poll of the last one may still be open.
pub(crate) async fn wait_for_gateways(site: &Site, gateways: u64) {
    eventually(&format!("{gateways} gateways have reported"), async || {
        site.metric("berth_gateways").await == gateways
    })
    .await;
}

pub(crate) async fn advance_monotonic_clock(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub(crate) async fn logout(site: &Site, id: &str) {
    let request = site.request(Method::POST, "/logout");
    send_request(request.header("cookie", format!("berth={id}"))).await;
}

pub(crate) async fn count_open_streams(site: &Site) -> u64 {
    site.metric("berth_streams{pool=\"p\",engine=\"e\"}").await
}

pub(crate) async fn request_as_operator(site: &Site, method: Method, path: &str) -> Answer {
    let request = site.request(method, path);
    send_request(request.header("authorization", "Bearer operator-secret-1")).await
}
