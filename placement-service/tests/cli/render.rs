//! `berth render`: the shipped files of Envoy are those of `demo.yaml`, and files are written and compared.

use super::{run_berth, write_config};
use std::fs;
use std::path::Path;

pub(crate) const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/demo.yaml");
pub(crate) const ENVOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy");
const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/edge");

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_shipped_files_of_envoy_are_those_of_the_demonstration() {
    let args = ["render", "envoy", "--config", DEMO, "--check", "-o", ENVOY];
    let (code, out, err) = run_berth(&args, "");
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "ok\n", ""));
}

#[test]
fn the_shipped_files_behind_a_proxy_are_those_of_their_configuration() {
    let folder = format!("{ENVOY}/behind-proxy");
    let config = format!("{folder}/berth.yaml");
    let args = [
        "render", "envoy", "--config", &config, "--check", "-o", &folder,
    ];
    let (code, out, err) = run_berth(&args, "");
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), "ok\n", ""));
    let [envoy, filter] = ["config.yaml", "filter.yaml"].map(|name| format!("{folder}/{name}"));
    let args = [
        "check",
        "--without-secrets",
        &config,
        "--edge",
        &envoy,
        &filter,
    ];
    let (code, _, err) = run_berth(&args, "");
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

/// The files of a target, with their names.
pub(crate) fn render_files(target: &str, config: &str) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let args = ["render", target, "--config", config, "-o", text(dir.path())];
    let (code, out, err) = run_berth(&args, "");
    assert_eq!((code, err.as_str()), (Some(0), ""), "{target}");
    let files = out
        .lines()
        .map(|line| line.strip_suffix(": written").unwrap());
    let files = files.map(str::to_owned).collect();
    (dir, files)
}

#[test]
fn the_values_of_the_chart_contain_the_configuration_and_the_files_of_envoy() {
    let file = |dir: &str, name: &str| fs::read_to_string(Path::new(dir).join(name)).unwrap();
    let (dir, files) = render_files("kubernetes", DEMO);
    assert_eq!(files.len(), 1);
    let values: serde_json::Value =
        serde_saphyr::from_str(&file(text(dir.path()), "values.yaml")).unwrap();
    assert_eq!(values["config"], fs::read_to_string(DEMO).unwrap());
    assert_eq!(values["gateway"]["envoyConfig"], file(ENVOY, "config.yaml"));
    let tree = |text: &str| -> serde_json::Value { serde_saphyr::from_str(text).unwrap() };
    let filter = tree(values["gateway"]["filterConfig"].as_str().unwrap());
    let expected = tree(&file(ENVOY, "filter.yaml"));
    assert_eq!(filter["resources"], expected["resources"]);
}

#[test]
fn files_are_written_once_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new/edge");
    let envoy = |more: &[&str]| {
        let args = ["render", "envoy", "--config", DEMO, "-o", text(&folder)];
        run_berth(&[&args, more].concat(), "")
    };
    let [config, filter] = ["config.yaml", "filter.yaml"].map(|name| folder.join(name));
    let names = [&config, &filter].map(|path| path.display().to_string());
    let lines = |word: &str| {
        names
            .iter()
            .map(|name| format!("{name}: {word}\n"))
            .collect::<String>()
    };

    let (code, _, err) = envoy(&["--check"]);
    assert_eq!((code, err), (Some(1), lines("is missing")));
    assert!(!folder.exists(), "--check writes nothing");
    assert_eq!(envoy(&[]), (Some(0), lines("written"), String::new()));
    assert_eq!(envoy(&[]), (Some(0), lines("unchanged"), String::new()));
    assert_eq!(
        envoy(&["--check"]),
        (Some(0), "ok\n".to_owned(), String::new())
    );
    assert_eq!(
        fs::read_dir(&folder).unwrap().count(),
        2,
        "no other file is left"
    );

    let changed = fs::read_to_string(&filter)
        .unwrap()
        .replace("cookie: berth", "cookie: other");
    fs::write(&filter, changed).unwrap();
    let (code, out, err) = envoy(&["--check"]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let head = format!("{}: differs\nline ", names[1]);
    assert!(err.starts_with(&head), "{err}");
    assert!(
        err.ends_with("-            cookie: other\n+            cookie: berth\n"),
        "{err}"
    );
}

#[test]
fn without_a_folder_the_files_are_printed() {
    let print = |target: &str| run_berth(&["render", target, "--config", DEMO], "").1;
    let file = |name: &str| fs::read_to_string(Path::new(ENVOY).join(name)).unwrap();
    assert_eq!(print("filter"), file("filter.yaml"));
    let both = format!(
        "# file: config.yaml\n{}---\n# file: filter.yaml\n{}",
        file("config.yaml"),
        file("filter.yaml")
    );
    assert_eq!(print("envoy"), both);
    let (code, _, err) = run_berth(&["render", "envoy", "--config", DEMO, "--check"], "");
    assert!(code == Some(2) && err.contains("--output"), "{err}");
}

#[test]
fn a_version_follows_the_content_of_the_filter_file() {
    let dir = tempfile::tempdir().unwrap();
    let version = |more: &str| {
        let file = write_config(dir.path(), more);
        let (_, out, err) = run_berth(&["render", "filter", "--config", text(&file)], "");
        let line = out.lines().find(|line| line.starts_with("version_info: "));
        line.unwrap_or_else(|| panic!("{err}")).to_owned()
    };
    assert_eq!(version(""), version(""));
    assert_ne!(version(""), version("tokens: { audience: other }"));
}

#[test]
fn a_setting_that_the_edge_cannot_express_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let edge = "listen: 127.0.0.1:0
login: { trusted_proxies: 0 }
gateways: { secret: { file: /run/secrets/gateway } }
tokens: { key: { inline: a-secret-that-nobody-may-read-here } }
placement: { deadline: 1m }
pools: [ { name: p, driver: websocket, cluster: pages, discovery: { static: [] } } ]
routes: [ { path: '/berth/{document}', pool: p }, { path: '/r/{a}/x', pool: p, bearer: allow }, { path: '/r/{b}/y', pool: p } ]
edge: { applications: [ { name: app, addresses: ['app:80'], routes: [ { path: /logout, action: bypass } ] } ],
  token_keys: [] }";
    let file = write_config(dir.path(), edge);
    let file = text(&file);
    let (code, out, err) = run_berth(&["render", "envoy", "--config", file], "");
    assert_eq!((code, out.as_str()), (Some(1), ""));
    let faults: Vec<&str> = err
        .lines()
        .map(|line| line.strip_prefix(&format!("{file}: ")).unwrap())
        .collect();
    assert_eq!(
        faults,
        [
            "edge.applications[0].routes[0]: \"/logout\" is never reached: \"/logout\" matches before it",
            "edge.gateway_secret_env: is needed: gateways.secret is no environment variable, and a secret is not written to a file of the edge",
            "edge.service: is needed: `listen` has no fixed port",
            "edge.token_keys: is needed: tokens.key is no environment variable, and a secret is not written to a file of the edge",
            "login.trusted_proxies: must be at least 1: the edge is a proxy in front of the service",
            "placement.deadline: must be at most 28s: the filter waits for at most 30s",
            "pools[0].cluster: \"pages\" is the name of a cluster of the service, too",
            "routes[0].path: \"/berth/\" hides \"/berth/\", a path of the service",
            "routes[2].bearer: must be the same as at routes[1].path: the edge knows \"/r/{b}/y\" only up to \"/r/\"",
        ]
    );
}

#[test]
fn a_public_key_is_read_and_a_private_one_refused() {
    let dir = tempfile::tempdir().unwrap();
    let jwk = dir.path().join("key.jwk");
    let more = format!(
        "tokens: {{ algorithm: EdDSA, key: {{ file: /run/secrets/key.pem }} }}\nedge: {{ token_keys: [ {{ jwk_file: {} }} ] }}",
        jwk.display()
    );
    let file = write_config(dir.path(), &more);
    let render = || run_berth(&["render", "filter", "--config", text(&file)], "");
    let (_, _, err) = render();
    assert!(
        err.contains("edge.token_keys[0].jwk_file: cannot read "),
        "{err}"
    );
    fs::write(
        &jwk,
        r#"{"kty":"OKP","crv":"Ed25519","x":"abc","d":"a-private-part"}"#,
    )
    .unwrap();
    let (_, _, err) = render();
    assert!(
        err.contains("jwk_file: is no public key") && !err.contains("private-part"),
        "{err}"
    );
    fs::write(&jwk, r#"{"kty":"OKP","crv":"Ed25519","x":"abc"}"#).unwrap();
    let (_, out, err) = render();
    assert!(
        out.contains("- { jwk: { crv: Ed25519, kty: OKP, x: abc } }"),
        "{out}{err}"
    );
    assert!(!out.contains("jwks:"), "{out}");
}

#[test]
fn the_configurations_that_envoy_checks_are_valid() {
    for name in ["production.yaml", "minimal.yaml"] {
        let file = Path::new(FIXTURES).join(name);
        let (code, _, err) = run_berth(&["check", "--without-secrets", text(&file)], "");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
        let dir = tempfile::tempdir().unwrap();
        let args = [
            "render",
            "envoy",
            "--config",
            text(&file),
            "-o",
            text(dir.path()),
        ];
        let (code, _, err) = run_berth(&args, "");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
        let [envoy, filter] = ["config.yaml", "filter.yaml"].map(|name| dir.path().join(name));
        let check = [
            "check",
            "--without-secrets",
            text(&file),
            "--edge",
            text(&envoy),
            text(&filter),
        ];
        let (code, _, err) = run_berth(&check, "");
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
    }
}
