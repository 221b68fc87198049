//! `berth render istio` and `envoy-gateway`: the shipped manifests are those of their configuration, and every name and
//! limit of an install follows from a setting.

use super::render::{ENVOY, render_files, text};
use super::{run_berth, write_config};
use std::fs;

/// The folder of a target's committed files.
const MANIFESTS: [(&str, &str); 2] = [("istio", "istio"), ("envoy-gateway", "envoy-gateway")];

fn manifests_config() -> String {
    format!("{ENVOY}/istio/berth.yaml")
}

#[test]
fn the_shipped_manifests_are_those_of_their_configuration() {
    let config = manifests_config();
    for (target, folder) in MANIFESTS {
        let folder = format!("{ENVOY}/{folder}");
        let args = [
            "render", target, "--config", &config, "--check", "-o", &folder,
        ];
        let (code, out, err) = run_berth(&args, "");
        assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "ok\n", ""));
    }
}

#[test]
fn rendered_manifests_are_reviewed_without_a_finding() {
    let config = manifests_config();
    for (target, _) in MANIFESTS {
        let (_dir, files) = render_files(target, &config);
        assert!(files.len() >= 4, "{files:?}");
        let mut args = vec!["check", "--without-secrets", config.as_str(), "--edge"];
        args.extend(files.iter().map(String::as_str));
        let (code, _, err) = run_berth(&args, "");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{target}");
    }
}

#[test]
fn every_name_of_an_install_is_a_setting() {
    let dir = tempfile::tempdir().unwrap();
    let names = [
        ("berth.example.com", "host: own-host.test"),
        ("berth-tls", "tls_secret: own-tls"),
        ("berth-token-key", "env_secret: own-env"),
        (
            "registry.example.com",
            "filter_image: 'own-registry.test/filter:1'",
        ),
    ];
    let istio = [
        ("istio-ingress", "namespace: own-namespace"),
        ("istio: ingressgateway", "selector: 'own=pods,second=label'"),
        ("istio-ingressgateway", "service_account: own-account"),
        ("cluster.local/", "trust_domain: own-domain"),
        ("app.kubernetes.io", "service_labels: own=service"),
        ("monitoring", "prometheus_namespace: own-prometheus"),
    ];
    let list = |names: &[(&str, &str)]| {
        let settings: Vec<&str> = names.iter().map(|(_, setting)| *setting).collect();
        settings.join(", ")
    };
    let config = format!(
        "gateways: {{ secret: {{ env: OWN_GATEWAY_SECRET }} }}
login: {{ trusted_proxies: 3 }}
edge:
  service: ['own-service.own-place.svc.cluster.test:1234']
  strip_headers: [x-own]
  max_heap_mb: 1000
  kubernetes: {{ {} }}
  istio: {{ {} }}
  envoy_gateway: {{ namespace: own-envoy }}",
        list(&names),
        list(&istio)
    );
    let file = write_config(dir.path(), &config);
    for (target, namespace) in [
        ("istio", "namespace: own-namespace\n"),
        ("envoy-gateway", "namespace: own-envoy\n"),
    ] {
        let (_dir, files) = render_files(target, text(&file));
        let all: Vec<String> = files
            .iter()
            .map(|file| fs::read_to_string(file).unwrap())
            .collect();
        let all = all.join("---\n");
        let defaults = names.iter().chain(&istio).map(|(default, _)| *default);
        for default in defaults.chain([
            "envoy-gateway-system",
            "berth.berth.svc",
            "9455",
            "x-forwarded- ",
            // Istio has one, and a second one stops Envoy.
            "global_downstream_max_connections",
        ]) {
            assert!(!all.contains(default), "{target}: {default}");
        }
        let gateways = namespace
            .trim()
            .replacen("namespace", "kubernetes.io/metadata.name", 1);
        for name in [
            namespace,
            &gateways,
            "own-host.test",
            "own-tls",
            "secretKeyRef: { name: own-env, key: OWN_GATEWAY_SECRET }",
            "own-registry.test/filter:1",
            "xff_num_trusted_hops",
            "remove: x-own",
            "own-service.own-place.svc.cluster.test",
        ] {
            assert!(all.contains(name), "{target}: {name}");
        }
        let istio_names = [
            "{ own: pods, second: label }",
            "own-domain/ns/own-namespace/sa/own-account",
            "own-domain/ns/own-namespace/sa/berth-istio",
            "matchLabels: { own: service }",
            "namespaces: [own-prometheus]",
            "namespace: own-place",
            "cluster: \"outbound|1234|placement|own-service.own-place.svc.cluster.test\"",
            "memory: \"1250Mi\"",
        ];
        for name in istio_names {
            assert_eq!(all.contains(name), target == "istio", "{target}: {name}");
        }
    }
}

#[test]
fn a_path_without_the_filter_does_not_reach_a_bypass_route() {
    let dir = tempfile::tempdir().unwrap();
    let config = "pools: [ { name: p, driver: websocket, cluster: engines, discovery: { static: [] } } ]
routes: [ { path: '/ws/{document}', pool: p } ]
edge: { service: ['berth.berth.svc.cluster.local:9455'], applications: [ { name: app, addresses: ['app.web.svc:80'],
  routes: [ { prefix: /api/, action: authenticate }, { prefix: /, action: bypass } ] } ] }";
    let file = write_config(dir.path(), config);
    for (target, _) in MANIFESTS {
        let (folder, _files) = render_files(target, text(&file));
        let edge = ["edge.yaml", "base/edge.yaml"].map(|name| folder.path().join(name));
        let edge = edge.iter().find(|path| path.exists()).unwrap();
        let edge = fs::read_to_string(edge).unwrap();
        for prefix in ["/ws/", "/api/"] {
            let closed =
                format!("match: {{ prefix: {prefix} }}, direct_response: {{ status: 503 }} }}");
            assert!(edge.contains(&closed), "{target}: {closed}");
        }
    }
}

#[test]
fn a_setting_that_a_control_plane_cannot_express_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let config = "pools: [ { name: p, driver: websocket, cluster: engines, discovery: { static: [] } } ]
routes: [ { path: /x, pool: p, bearer: allow } ]
edge: { applications: [ { name: app, addresses: ['10.0.0.1:80'], routes: [ { path: /a, action: authenticate, anonymous: allow } ] } ] }";
    let file = write_config(dir.path(), config);
    let faults = |target: &str| {
        let (code, out, err) = run_berth(&["render", target, "--config", text(&file)], "");
        assert_eq!((code, out.as_str()), (Some(1), ""));
        let lines = err.lines().map(|line| {
            let line = line.strip_prefix(&format!("{}: ", file.display())).unwrap();
            line.to_owned()
        });
        lines.collect::<Vec<String>>()
    };
    let deny = "must be deny: the routes of a control plane match only requests with a session";
    let both = [
        format!("edge.applications[0].routes[0].anonymous: {deny}"),
        format!("routes[0].bearer: {deny}"),
    ];
    assert_eq!(faults("envoy-gateway"), both);
    let [anonymous, bearer] = both;
    assert_eq!(
        faults("istio"),
        [
            "edge.applications[0].addresses: Istio needs one host name, that of a service"
                .to_owned(),
            anonymous,
            "edge.service: Istio needs one host name such as berth.berth.svc.cluster.local:9455"
                .to_owned(),
            bearer,
        ]
    );
}
