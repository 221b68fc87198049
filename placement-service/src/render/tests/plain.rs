//! Files for plain requests to engines, and for hosts of their own.

use super::*;

pub(super) const PLAIN: &str = r#"
pools: [ { name: p, driver: websocket, cluster: engines, discovery: { static: [ { name: e, ip: 10.0.0.1, port: 80 } ] } } ]
routes:
  - { path: "/jup/{rest}", pool: p, http: allow, activity: unsafe, affinity: { key: account }, rewrite: "/{rest}" }
  - { path: "/nb/{rest}", host: lab.example.com, pool: p, http: allow, affinity: { key: account } }
edge:
  engine_idle_timeout: 9s
  applications: [ { name: app, addresses: ["app:80"], routes: [ { prefix: /api/, action: bypass, timeout: 5s } ] } ]
"#;

#[test]
fn a_host_has_a_virtual_host_in_which_the_service_comes_first() {
    let files = render_text(PLAIN, Target::Envoy).unwrap();
    let manager = manager(&files);
    let hosts = manager["route_config"]["virtual_hosts"].as_array().unwrap();
    let domains: Vec<&Value> = hosts.iter().map(|host| &host["domains"]).collect();
    let own = json!(["lab.example.com", "lab.example.com:*"]);
    assert_eq!(domains, [&own, &json!(["*"])]);
    let paths = |index: usize| -> Vec<String> {
        let routes = hosts[index]["routes"].as_array().unwrap().iter();
        let path = |route: &Value| {
            let matcher = &route["match"];
            matcher.get("prefix").or(matcher.get("path")).cloned()
        };
        routes
            .map(|route| path(route).unwrap().as_str().unwrap().to_owned())
            .collect()
    };
    // First the requests that the filter has placed, whose path it has rewritten.
    let placed =
        json!({"prefix": "/", "headers": [{"name": "x-berth-cluster", "present_match": true}]});
    for host in hosts {
        assert_eq!(host["routes"][0]["match"], placed);
        assert_eq!(
            host["routes"][0]["route"]["cluster_header"],
            "x-berth-cluster"
        );
    }
    assert_eq!(paths(0)[1], "/login");
    assert_eq!(paths(0)[paths(0).len() - 3..], ["/nb/", "/jup/", "/api/"]);
    assert_eq!(
        (paths(1)[1].as_str(), paths(1).contains(&"/nb/".to_owned())),
        ("/jup/", false)
    );
    let routes = settings(&files)["routes"].clone();
    assert_eq!(
        routes[0],
        json!({"host": "lab.example.com", "path": "/login", "action": "bypass"})
    );
    let place: Vec<&Value> = routes
        .as_array()
        .unwrap()
        .iter()
        .filter(|route| route["action"] == "place")
        .collect();
    let of_host =
        json!({"host": "lab.example.com", "prefix": "/nb/", "action": "place", "http": "allow"});
    let of_all =
        json!({"prefix": "/jup/", "action": "place", "http": "allow", "activity": "unsafe"});
    assert_eq!(place, [&of_host, &of_all]);
}

#[test]
fn long_requests_to_engines_have_no_limit_and_others_keep_theirs() {
    let files = render_text(PLAIN, Target::Envoy).unwrap();
    let manager = manager(&files);
    assert_eq!(manager["request_timeout"], "0s");
    let routes = manager["route_config"]["virtual_hosts"][1]["routes"]
        .as_array()
        .unwrap();
    let limit = |path: &str| {
        let mut routes = routes.iter();
        let route = routes.find(|route| {
            route["match"]
                .as_object()
                .unwrap()
                .values()
                .any(|value| value == path)
        });
        let limit = route
            .unwrap()
            .pointer("/route/max_stream_duration/max_stream_duration");
        limit.unwrap().as_str().unwrap().to_owned()
    };
    assert_eq!(
        [limit("/login"), limit("/api/"), limit("/jup/")],
        ["75s", "65s", "36000s"]
    );
    let cluster = parse(&files, "config.yaml")["static_resources"]["clusters"][0].clone();
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let options = &cluster["typed_extension_protocol_options"][options];
    assert_eq!(
        options["common_http_protocol_options"]["idle_timeout"],
        "9s"
    );
    let without = render_text("", Target::Envoy).unwrap();
    assert!(without[0].text.contains("request_timeout: 60s"));
    assert!(!without[0].text.contains("max_stream_duration: 75s"));
}

#[test]
fn a_gateway_of_a_control_plane_has_one_host() {
    for target in [Target::Istio, Target::EnvoyGateway] {
        let fault = render_text(PLAIN, target).unwrap_err();
        assert!(
            fault.contains("routes[1].host: must be edge.kubernetes.host"),
            "{fault}"
        );
    }
}
