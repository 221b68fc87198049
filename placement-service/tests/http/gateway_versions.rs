//! Gateways whose filter has another version than the service: they are listed, counted, and logged once.

use crate::engines::request_as_operator;
use crate::events::CLIENTS;
use crate::reporting_gateway::ReportingGateway;
use crate::site::Site;
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn filters_of_another_version_are_listed_and_counted() {
    let site = Site::start(CLIENTS).await;
    let mut gateways = Vec::new();
    for (name, version) in [
        ("g-1", json!(env!("CARGO_PKG_VERSION"))),
        ("g-2", json!("0.0.9-rc.1+7")),
        ("g-3", json!(null)),
    ] {
        let mut gateway = ReportingGateway::new(&site, name);
        gateway.identity = json!({"node": "edge-1", "version": version, "uptime_ms": 1});
        gateway.poll(0).await;
        gateways.push(gateway);
    }
    assert_eq!(site.metric("berth_gateways_other_version").await, 1);
    let listed = request_as_operator(&site, Method::GET, "/v1/gateways").await;
    let listed = listed.json();
    assert_eq!(listed["gateways"][1]["version"], "0.0.9-rc.1+7");
    assert_eq!(listed["gateways"][2]["version"], json!(null));
}
