//! Counters with fixed label values start at 0, so that rules see their first increment; and the rules and dashboards
//! select label values that exist.

use crate::site::Site;
use berth_api::RejectReason;
use berth_store::EndCause;
use std::path::Path;

const SITE: &str = "
pools: [ { name: p, driver: websocket, cluster: c, strategy: p2c, discovery: { static: [ { name: e, ip: 127.0.0.1, port: 1 } ] } } ]
routes: [ { path: '/x', pool: p } ]
webhooks: [ { name: w, url: 'http://127.0.0.1:1/', secret: { inline: whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3 } } ]
security_events: { audience: a, transmitters: [ { name: t, issuer: i, jwks: { url: 'http://127.0.0.1:1/' }, account_by: sub } ] }
";

async fn scrape(site: &Site) -> String {
    site.get("/metrics", "").await.text
}

/// What a page has between backticks in the table row of a metric, after its name.
fn documented_values<'a>(page: &'a str, metric: &str) -> Vec<&'a str> {
    let row = page
        .lines()
        .find(|line| line.starts_with(&format!("| `{metric}{{")));
    let row = row.unwrap_or_else(|| panic!("{metric} is not documented"));
    let values = row.split('`').skip(1).step_by(2).skip(1);
    values.filter(|value| *value != "err").collect()
}

#[tokio::test]
async fn counters_with_fixed_label_values_start_at_0() {
    let site = Site::start(SITE).await;
    let page = include_str!("../../docs/metrics.md");
    let text = scrape(&site).await;
    let check = |metric: &str, labels: &str, values: &[&str]| {
        assert!(!values.is_empty(), "{metric}");
        for value in values {
            let line = format!("{metric}{{{}}} 0", labels.replace("VALUE", value));
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    };
    for (metric, labels) in [
        ("berth_logins_total", r#"result="VALUE""#),
        ("berth_http_connections_closed_total", r#"cause="VALUE""#),
        (
            "berth_engine_session_ends_total",
            r#"pool="p",outcome="VALUE""#,
        ),
        (
            "berth_placement_attempts_total",
            r#"pool="p",outcome="VALUE""#,
        ),
        ("berth_streams_closed_total", r#"reason="VALUE""#),
        (
            "berth_webhook_deliveries_total",
            r#"webhook="w",result="VALUE""#,
        ),
        (
            "berth_security_events_total",
            r#"transmitter="t",outcome="VALUE""#,
        ),
        (
            "berth_probe_failures_total",
            r#"pool="p",engine="e",fault="VALUE""#,
        ),
    ] {
        // The probe of the engine may have failed already.
        let text = text.lines().map(|line| match line.split_once(' ') {
            Some((series, _)) if series.contains("fault=\"connect\"") => format!("{series} 0"),
            _ => line.to_owned(),
        });
        let text: Vec<String> = text.collect();
        for value in documented_values(page, metric) {
            let line = format!("{metric}{{{}}} 0", labels.replace("VALUE", value));
            assert!(
                text.contains(&line),
                "{line} is not in\n{}",
                text.join("\n")
            );
        }
    }
    // The first run may have ended already.
    check(
        "berth_session_cleanup_runs_total",
        r#"result="VALUE""#,
        &["failed"],
    );
    let reasons: Vec<&str> = RejectReason::ALL.iter().map(|r| r.as_str()).collect();
    check("berth_refusals_total", r#"reason="VALUE""#, &reasons);
    let own = ["login-failed", "cross-site", "unknown-client", "not-found"];
    check("berth_refusals_total", r#"reason="VALUE""#, &own);
    check(
        "berth_placements_total",
        r#"pool="p",outcome="VALUE""#,
        &reasons,
    );
    let chosen = ["p2c", "resumed", "shared", "replaced"];
    check(
        "berth_placement_reasons_total",
        r#"pool="p",reason="VALUE""#,
        &chosen,
    );
    let causes = EndCause::ALL.map(EndCause::as_str);
    check("berth_sessions_ended_total", r#"cause="VALUE""#, &causes);
    check("berth_webhook_missed_total", r#"webhook="VALUE""#, &["w"]);
}

/// The selectors `metric{label=~"a|b"}` of a text: metric, label, value.
fn selected_values(text: &str) -> Vec<(String, String, String)> {
    let text = text.replace("\\\"", "\"");
    let mut selected = Vec::new();
    for (before, after) in text.match_indices('{').map(|(at, _)| text.split_at(at)) {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let metric = before.rsplit(|c| !is_name(c)).next().unwrap();
        let Some((matchers, _)) = after[1..].split_once('}') else {
            continue;
        };
        for matcher in matchers.split(',').filter(|_| metric.starts_with("berth_")) {
            let Some((label, values)) = matcher.split_once('=') else {
                continue;
            };
            for value in values.trim_matches(['~', '"', '!']).split('|') {
                selected.push((metric.to_owned(), label.to_owned(), value.to_owned()));
            }
        }
    }
    selected
}

#[tokio::test]
async fn rules_and_dashboards_select_label_values_that_exist() {
    let site = Site::start(SITE).await;
    let text = scrape(&site).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
    let mut checked = 0;
    for file in [
        "alerts.yaml",
        "objectives.yaml",
        "dashboards/edge.json",
        "dashboards/fleet.json",
        "dashboards/login.json",
    ] {
        let rules = std::fs::read_to_string(folder.join(file)).unwrap();
        for (metric, label, value) in selected_values(&rules) {
            // A variable of a dashboard, or a pattern; or a metric of the filter.
            let is_literal = value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            let of_filter = metric == "berth_rejections";
            if !is_literal || of_filter {
                continue;
            }
            let pair = format!("{label}=\"{value}\"");
            let series = text
                .lines()
                .filter(|line| line.starts_with(&format!("{metric}{{")));
            let exists = series.into_iter().any(|line| line.contains(&pair));
            assert!(exists, "{file}: there is no {metric}{{{pair}}}");
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked}");
}
