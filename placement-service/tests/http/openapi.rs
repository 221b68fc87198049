//! `/openapi.json` matches the service: every route of every listener, and the answers that schemathesis gets to the
//! requests that it generates.

use crate::compat;
use crate::site::{Answer, Site, send_request};
use axum::Router;
use berth_placement::http;
use reqwest::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Output};
use tokio::task::spawn_blocking;

/// Installed by `make test`; its version is in tests/setup/versions.env.
const PYTHON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../.tools/schemathesis/bin/python"
);
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http/schemathesis.toml");
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance";
/// Generated requests per operation, in addition to the requests that follow from the document.
const MAX_EXAMPLES: &str = "10";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "PATCH"];

async fn request_listener(site: &Site, at: SocketAddr, method: &str, path: &str) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    send_request(site.request_at(at, method, path)).await
}

/// The listeners, each with an authorization that its routes accept.
fn listeners(site: &Site) -> [(SocketAddr, String); 3] {
    let operator = "Bearer operator-secret-1".to_owned();
    let user = format!(
        "Bearer {}",
        compat::sign_token(&"k".repeat(40), &compat::berth_claims())
    );
    [
        (site.address, operator.clone()),
        (site.mira.unwrap(), operator),
        (site.session_service.unwrap(), user),
    ]
}

async fn fetch_document(site: &Site, at: SocketAddr) -> Value {
    let document = request_listener(site, at, "GET", "/openapi.json").await;
    assert_eq!(
        (document.status, document.header("content-type")),
        (200, "application/json")
    );
    document.json()
}

#[tokio::test]
async fn a_document_has_the_operations_of_its_listener() {
    let (site, _engine) = compat::start_site(Some(&"k".repeat(40))).await;
    for (at, _) in listeners(&site) {
        let document = fetch_document(&site, at).await;
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.contains_key("/openapi.json"));
        for (pattern, item) in paths {
            // No document, engine or provider has that name, and the call stream does not work over HTTP/1.1.
            let path = pattern.replace(['{', '}'], "");
            for method in METHODS {
                let answer = request_listener(&site, at, method, &path).await;
                let documented = item.get(method.to_lowercase()).is_some();
                let nowhere = answer.status == 404 && answer.text.contains("\"not-found\"");
                let known = answer.status != 405 && !nowhere;
                let by_design = pattern == "/berth/{file}" || pattern == "/security-events";
                assert!(
                    known == documented || (documented && by_design && nowhere),
                    "{method} {path}: {answer:?}"
                );
            }
        }
    }
}

/// The paths of a router, parsed from its `Debug` output.
fn router_paths(router: &Router) -> BTreeSet<String> {
    let text = format!("{router:?}");
    let (text, _) = text.split_once("fallback_router").unwrap();
    let paths = text.split('"').filter(|part| part.starts_with('/'));
    let own = paths.filter(|path| !path.starts_with("/swagger-ui"));
    own.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_document_has_the_routes_of_its_router() {
    let (site, _engine) = compat::start_site(None).await;
    let routers = [
        http::router(site.app.clone()),
        http::mira_router(site.app.clone()),
        http::session_service_router(site.app.clone()),
    ];
    for (router, (at, _)) in routers.iter().zip(listeners(&site)) {
        let document = fetch_document(&site, at).await;
        let documented = document["paths"].as_object().unwrap().keys().cloned();
        let documented: BTreeSet<String> = documented.collect();
        assert!(documented.len() > 3);
        assert_eq!(documented, router_paths(router));
    }
}

#[tokio::test]
async fn every_listener_serves_swagger_ui() {
    let (site, _engine) = compat::start_site(None).await;
    for (at, _) in listeners(&site) {
        let page = request_listener(&site, at, "GET", "/swagger-ui/").await;
        assert!(page.header("content-type").starts_with("text/html"));
        let start = request_listener(&site, at, "GET", "/swagger-ui/swagger-initializer.js").await;
        assert!(start.text.contains("/openapi.json"), "{start:?}");
        let script = request_listener(&site, at, "GET", "/swagger-ui/swagger-ui-bundle.js").await;
        assert!(script.status == 200 && script.text.len() > 100_000);
    }
}

#[tokio::test]
async fn answers_conform_to_the_document() {
    let (site, _engine) = compat::start_site(Some(&"k".repeat(40))).await;
    for (at, authorization) in listeners(&site) {
        let output = spawn_blocking(move || run_schemathesis(at, &authorization)).await;
        let Output {
            status,
            stdout,
            stderr,
        } = output.unwrap();
        let (out, err) = (
            String::from_utf8_lossy(&stdout),
            String::from_utf8_lossy(&stderr),
        );
        assert!(status.success(), "{at}: {status}\n{out}\n{err}");
    }
}

fn run_schemathesis(at: SocketAddr, authorization: &str) -> Output {
    // The first line of the script has the path of its installation, so this runs the module instead.
    let mut command = Command::new(PYTHON);
    command.args([
        "-m",
        "schemathesis.cli",
        "--config-file",
        CONFIG,
        "--no-color",
        "run",
    ]);
    command.args([&format!("http://{at}/openapi.json"), "--checks", CHECKS]);
    command.args(["--phases", "examples,coverage,fuzzing", "--seed", "1"]);
    // In Python 3.11, concurrent threads that parse Python may fail (python/cpython#106905).
    command.args(["--max-examples", MAX_EXAMPLES, "--workers", "1"]);
    command.args(["-H", &format!("Authorization: {authorization}")]);
    let output = command.current_dir(std::env::temp_dir()).output();
    output.unwrap_or_else(|fault| panic!("{PYTHON}: {fault}; `make setup` installs it"))
}
