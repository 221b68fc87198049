//! Checks that the shipped Envoy files keep what the service relies on: a socket lasts as long as the longest session,
//! client requests to the service use their own cluster, and Envoy buffers the bodies of those requests.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's own steps may fail it"
)]

use berth_placement::config::load;
use berth_placement::http::body::MAX_BODY_BYTES;
use serde_json::{Value, json};

const FILES: [(&str, &str); 2] = [
    ("config.yaml", include_str!("../../envoy/config.yaml")),
    ("minimal.yaml", include_str!("../../envoy/minimal.yaml")),
];
const BUFFER: &str = "envoy.filters.http.buffer";

/// Yields the name, the content and the HTTP connection manager of each file.
fn files() -> impl Iterator<Item = (&'static str, Value, Value)> {
    FILES.into_iter().map(|(name, text)| {
        let file: Value = serde_saphyr::from_str(text).unwrap();
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let manager = file.pointer(manager).unwrap().clone();
        (name, file, manager)
    })
}

fn routes(manager: &Value) -> &Vec<Value> {
    let routes = manager.pointer("/route_config/virtual_hosts/0/routes");
    routes.and_then(Value::as_array).unwrap()
}

fn cluster<'a>(file: &'a Value, name: &str) -> &'a Value {
    let clusters = file["static_resources"]["clusters"].as_array().unwrap();
    clusters.iter().find(|one| one["name"] == name).unwrap()
}

#[test]
fn a_socket_lasts_as_long_as_the_longest_session() {
    let session = load::from_text(load::DEFAULT).unwrap().config.session;
    let longest = format!("{}s", session.absolute_timeout.as_secs());
    for (name, _, manager) in files() {
        let sockets = routes(&manager).iter().map(|route| &route["route"]);
        let sockets: Vec<_> = sockets
            .filter(|route| !route["cluster_header"].is_null())
            .collect();
        assert!(!sockets.is_empty(), "{name}");
        for route in sockets {
            let lasts = &route["max_stream_duration"]["max_stream_duration"];
            assert_eq!(lasts, &json!(longest), "{name}");
        }
    }
}

#[test]
fn client_requests_to_the_service_are_buffered_and_use_their_own_cluster() {
    for (name, file, manager) in files() {
        let mut pages = 0;
        for route in routes(&manager) {
            let to = &route["route"]["cluster"];
            assert_ne!(to, "placement", "{name}: the cluster of the filter's calls");
            let buffer = &route["typed_per_filter_config"][BUFFER]["buffer"];
            if to == "pages" {
                pages += 1;
                let limit = &buffer["max_request_bytes"];
                assert_eq!(limit, &json!(MAX_BODY_BYTES), "{name}: {}", route["match"]);
            } else {
                assert!(buffer.is_null(), "{name}: {}", route["match"]);
            }
        }
        assert!(pages > 0, "{name}");
        let [pages, calls] = ["pages", "placement"].map(|name| cluster(&file, name));
        let addresses = "/load_assignment/endpoints";
        assert_eq!(pages.pointer(addresses), calls.pointer(addresses), "{name}");
    }
}

#[test]
fn the_filter_runs_before_the_body_is_buffered() {
    for (name, _, manager) in files() {
        let filters = manager["http_filters"].as_array().unwrap();
        let names: Vec<_> = filters.iter().map(|filter| &filter["name"]).collect();
        assert_eq!(
            names,
            ["berth", BUFFER, "envoy.filters.http.router"],
            "{name}"
        );
        // Routes to engines and to the application are not buffered.
        assert_eq!(filters[1]["disabled"], true, "{name}");
    }
}

#[test]
fn a_hung_worker_terminates_its_envoy() {
    for (name, file, _) in files() {
        let watchdog = &file["watchdogs"]["worker_watchdog"];
        for (timeout, value) in [("megamiss_timeout", "5s"), ("kill_timeout", "30s")] {
            assert_eq!(watchdog[timeout], value, "{name}");
        }
    }
}
