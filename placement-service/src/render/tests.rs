//! What the files contain for unlike configurations, and that no value of a configuration breaks out of its place.

use super::*;
use crate::config::load;
use serde_json::{Value, json};

fn no_file(path: &Path) -> io::Result<String> {
    Err(io::Error::other(format!("{} is read", path.display())))
}

fn render_text(config: &str, target: Target) -> Result<Vec<RenderedFile>, String> {
    let loaded = load::from_text(config).map_err(|faults| faults.to_string())?;
    let source = Source {
        name: "my.yaml",
        text: config,
    };
    render(target, &loaded.config, source, &no_file).map_err(|error| error.to_string())
}

fn parse(files: &[RenderedFile], name: &str) -> Value {
    let file = files.iter().find(|file| file.name == name).unwrap();
    serde_saphyr::from_str(&file.text).unwrap_or_else(|error| panic!("{error}\n{}", file.text))
}

/// The filter's own settings in its file.
fn settings(files: &[RenderedFile]) -> Value {
    let file = parse(files, "filter.yaml");
    let settings = file.pointer("/resources/0/typed_config/config/configuration/value");
    settings.unwrap().clone()
}

fn manager(files: &[RenderedFile]) -> Value {
    let file = parse(files, "config.yaml");
    let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    file.pointer(manager).unwrap().clone()
}

#[test]
fn the_defaults_alone_are_rendered() {
    let files = render_text("", Target::Envoy).unwrap();
    let settings = settings(&files);
    assert_eq!(settings["cookie"], "__Host-berth");
    assert_eq!(settings["service"]["timeout"], "12s");
    assert_eq!(
        settings["tokens"],
        json!({"issuer": "berth", "audience": "engine", "keys": [{"alg": "HS256", "secret_env": "BERTH_TOKEN_KEY"}]})
    );
    assert_eq!(render_text("", Target::Filter).unwrap(), files[1..]);
}

#[test]
fn settings_of_other_sections_are_taken_over() {
    let files = render_text(
        r#"
session: { absolute_timeout: 90m, cookie: { secure: false } }
login: { trusted_proxies: 3 }
gateways: { secret: { env: GATEWAYS } }
tokens: { algorithm: ES256, key: { file: key.pem }, issuer: site, previous: [ { algorithm: HS256, key: { env: OLD } } ] }
placement: { deadline: 1500ms }
pools: [ { name: p, driver: websocket, cluster: "c-{engine}", discovery: { static: [ { name: a, ip: "fd00::1", port: 80 } ] } } ]
routes: [ { path: "/ws/{document}", pool: p, bearer: allow, max_age: 1h } ]
edge: { listen: "0.0.0.0:443", tls: { certificate: /c, key: /k }, strip_headers: [x-user], origins: ["https://a.example"] }
"#,
        Target::Envoy,
    )
    .unwrap();
    let settings = settings(&files);
    assert_eq!(settings["cookie"], "berth");
    assert_eq!(
        settings["service"],
        json!({"cluster": "placement", "authority": "berth-placement", "timeout": "3.5s", "secret_env": "GATEWAYS"})
    );
    assert_eq!(
        settings["tokens"],
        json!({"issuer": "site", "audience": "engine", "keys": [{"alg": "HS256", "secret_env": "OLD"}], "jwks": {"path": "/.well-known/jwks.json"}})
    );
    assert_eq!(
        settings["routes"][0],
        json!({"prefix": "/ws/", "action": "place", "bearer": "allow", "max_age": "3600s", "max_age_jitter": 0.1})
    );
    assert_eq!(settings["strip_headers"], json!(["x-user"]));
    assert_eq!(settings["origins"], json!(["https://a.example"]));
    let manager = manager(&files);
    assert_eq!(manager["xff_num_trusted_hops"], 2);
    let removed = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
    let removed = removed.to_string();
    assert!(
        removed.contains("x-user") && !removed.contains("x-forwarded-"),
        "{removed}"
    );
    let route = &manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"];
    assert_eq!(route["max_stream_duration"]["max_stream_duration"], "5400s");
    let file = parse(&files, "config.yaml");
    let tls = "/static_resources/listeners/0/filter_chains/0/transport_socket/typed_config/common_tls_context/tls_certificates/0";
    assert_eq!(
        file.pointer(tls).unwrap(),
        &json!({"certificate_chain": {"filename": "/c"}, "private_key": {"filename": "/k"}})
    );
    let engine = &file["static_resources"]["clusters"][0];
    assert_eq!(engine["name"], "c-a");
    let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    assert_eq!(
        engine.pointer(address).unwrap(),
        &json!({"address": "fd00::1", "port_value": 80})
    );
}

#[test]
fn routes_to_engines_are_rendered_in_the_order_of_their_precedence() {
    let config = r#"
pools: [ { name: p, driver: websocket, cluster: c, discovery: { static: [] } } ]
routes:
  - { path: "/r/{rest}", pool: p }
  - { path: "/r/{a}/x/{rest}", pool: p, headers: { x-user: "{account}" } }
  - { path: "/r/x", pool: p, bearer: allow, headers: { x-user: "{account}", x-groups: "{roles}" } }
edge: { strip_headers: [x-groups] }
"#;
    let files = render_text(config, Target::Envoy).unwrap();
    let settings = settings(&files);
    let routes = settings["routes"].as_array().unwrap().iter();
    let routes: Vec<&Value> = routes.filter(|route| route["action"] == "place").collect();
    assert_eq!(
        json!(routes),
        json!([{"path": "/r/x", "action": "place", "bearer": "allow"}, {"prefix": "/r/", "action": "place"}])
    );
    assert_eq!(settings["strip_headers"], json!(["x-groups", "x-user"]));
    let manager = manager(&files);
    let removed = &manager["early_header_mutation_extensions"][0]["typed_config"]["mutations"];
    for name in ["x-user", "x-groups"] {
        assert!(
            removed
                .as_array()
                .unwrap()
                .contains(&json!({"remove": name}))
        );
    }
}

#[test]
fn no_value_breaks_out_of_its_place() {
    let hostile = "a\"b'}}]]\n  - x: &y {{ z }} # %";
    let quoted = serde_json::to_string(hostile).unwrap();
    let files = render_text(
        &format!("tokens: {{ issuer: {quoted}, audience: {quoted}, kid: {quoted} }}"),
        Target::Envoy,
    )
    .unwrap();
    let tokens = &settings(&files)["tokens"];
    let key = json!({"alg": "HS256", "secret_env": "BERTH_TOKEN_KEY", "kid": hostile});
    assert_eq!(
        tokens,
        &json!({"issuer": hostile, "audience": hostile, "keys": [key]})
    );
}

#[test]
fn unused_public_paths_are_not_forwarded() {
    let paths = |more: &str| -> Vec<String> {
        let settings = settings(&render_text(more, Target::Envoy).unwrap());
        let routes = settings["routes"].as_array().unwrap().iter();
        let path = |route: &Value| {
            route["path"]
                .as_str()
                .or(route["prefix"].as_str())
                .map(str::to_owned)
        };
        routes.filter_map(path).collect()
    };
    let few = paths("");
    assert!(few.contains(&"/login".to_owned()));
    for (more, path) in [
        ("edge: { demo_page: true }", "/"),
        (
            "oidc: [ { name: a, issuer: 'https://a.example', client_id: b, roles: { default: [user] } } ]",
            "/login/oidc/",
        ),
        (
            "security_events: { audience: a, transmitters: [ { name: t, issuer: i, jwks: { url: 'https://a.example/' }, account_by: sub } ] }",
            "/security-events",
        ),
    ] {
        assert!(!few.contains(&path.to_owned()), "{path}");
        assert!(paths(more).contains(&path.to_owned()), "{path}");
    }
}

#[test]
fn the_listed_capabilities_are_those_of_the_model() {
    let files = render_text("", Target::Filter).unwrap();
    let file = parse(&files, "filter.yaml");
    let list = "/resources/0/typed_config/config/vm_config/capability_restriction_config/allowed_capabilities";
    let list = file.pointer(list).unwrap().as_object().unwrap();
    assert_eq!(list.len(), capabilities::CAPABILITIES.len());
    assert!(!list.contains_key("proxy_on_response_headers"));
    let file = parse(&render_text(PLAIN, Target::Filter).unwrap(), "filter.yaml");
    let list = "/resources/0/typed_config/config/vm_config/capability_restriction_config/allowed_capabilities";
    let list = file.pointer(list).unwrap().as_object().unwrap();
    assert!(list.contains_key("proxy_on_response_headers"));
}

const PLAIN: &str = r#"
pools: [ { name: p, driver: websocket, cluster: engines, discovery: { static: [ { name: e, ip: 10.0.0.1, port: 80 } ] } } ]
routes:
  - { path: "/jup/{rest}", pool: p, http: allow, activity: unsafe, affinity: { key: account }, rewrite: "/{rest}" }
  - { path: "/{rest}", host: lab.example.com, pool: p, http: allow, affinity: { key: account } }
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
    assert_eq!(paths(0)[paths(0).len() - 3..], ["/", "/jup/", "/api/"]);
    assert_eq!(
        (
            paths(1)[1].as_str(),
            paths(1)[1..].contains(&"/".to_owned())
        ),
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
        json!({"host": "lab.example.com", "prefix": "/", "action": "place", "http": "allow"});
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

#[test]
fn upstream_tls_verifies_the_configured_name() {
    let text = r#"
tls: { certificate: /s.pem, key: /s.key, clients: { ca: /g.pem, gateways: [edge] } }
pools:
  - { name: a, driver: qix, cluster: secure, discovery: { static: [] }, tls: { ca: /e.pem, name: engines.internal } }
  - { name: b, driver: qix, cluster: clear, discovery: { static: [] } }
  - { name: c, driver: qix, cluster: "one-{engine}", discovery: { static: [ { name: x, ip: 10.0.0.1, port: 1 } ] }, tls: { ca: /f.pem, name: f } }
edge: { service_tls: { ca: /s-ca.pem, name: service.internal, certificate: /c.pem, key: /c.key } }
"#;
    let files = render_text(text, Target::Envoy).unwrap();
    let file = parse(&files, "config.yaml");
    let clusters = file["static_resources"]["clusters"].as_array().unwrap();
    let tls = |name: &str| {
        let mut named = clusters.iter().filter(|cluster| cluster["name"] == name);
        let config = &named.next().unwrap()["transport_socket"]["typed_config"];
        let context = &config["common_tls_context"];
        let validation = &context["validation_context"];
        json!([
            config["sni"],
            validation["trusted_ca"]["filename"],
            validation["match_typed_subject_alt_names"][0]["matcher"]["exact"],
            context["alpn_protocols"][0],
            context["tls_certificates"][0]["certificate_chain"]["filename"],
        ])
    };
    let engines = json!([
        "engines.internal",
        "/e.pem",
        "engines.internal",
        "http/1.1",
        null
    ]);
    assert_eq!(tls("secure"), engines);
    assert_eq!(tls("clear"), json!([null, null, null, null, null]));
    assert_eq!(tls("one-x"), json!(["f", "/f.pem", "f", "http/1.1", null]));
    let service = json!([
        "service.internal",
        "/s-ca.pem",
        "service.internal",
        "h2",
        "/c.pem"
    ]);
    assert_eq!(tls("placement"), service);
    assert_eq!(tls("pages"), service);
}

#[test]
fn tls_that_the_edge_cannot_use_is_a_fault() {
    let pools = "pools:
  - { name: a, driver: qix, cluster: e, discovery: { static: [] }, tls: { ca: /e.pem, name: engines } }
  - { name: b, driver: qix, cluster: e, discovery: { static: [] } }\n";
    let text = format!("tls: {{ certificate: /s.pem, key: /s.key }}\n{pools}");
    let faults = render_text(&text, Target::Envoy).err().unwrap().to_string();
    assert_eq!(
        faults,
        "edge.service_tls: is needed: `tls` is set\n\
         pools[1].tls: must be that of the other pools of the cluster \"e\""
    );
}

#[test]
fn roles_of_applications_reach_the_filter() {
    let text = "edge: { applications: [ { name: app, addresses: ['127.0.0.1:1'], routes: [ \
        { prefix: /admin/, action: authenticate, roles: [admin, 'a-b'] }, { prefix: /x/, action: authenticate } ] } ] }\n\
        pools: [ { name: p, driver: websocket, cluster: c, discovery: { static: [] } } ]\n\
        routes: [ { path: /ws, pool: p, roles: [admin] } ]";
    let files = render_text(text, Target::Envoy).unwrap();
    let settings = settings(&files);
    let routes = settings["routes"].as_array().unwrap();
    let roles = |path: &str| {
        let mut found = routes
            .iter()
            .filter(|r| r["prefix"] == path || r["path"] == path);
        found.next().unwrap()["roles"].clone()
    };
    assert_eq!(roles("/admin/"), json!(["admin", "a-b"]));
    assert_eq!(roles("/x/"), json!(null));
    assert_eq!(roles("/ws"), json!(null), "the service checks them");
}
