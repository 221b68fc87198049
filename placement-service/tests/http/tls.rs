//! TLS of the service's listener: https, certificates that are renewed in their files, and gateways that authenticate
//! with certificates.

use crate::certificates::{identity, root};
use crate::site::{Answer, Site, eventually, send_request};
use berth_harness::certificate::{Authority, Issued};
use berth_placement::core::http_client;
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

const GATEWAY_SECRET: &str = "the-secret-of-gateways";

/// The section `tls` with files in this folder, and with `more` fields.
fn tls_section(directory: &Path, more: &str) -> String {
    let folder = directory.display();
    format!("tls: {{ certificate: {folder}/service.pem, key: {folder}/service.key{more} }}\n")
}

fn clients(directory: &Path) -> String {
    let folder = directory.display();
    format!(", clients: {{ ca: {folder}/gateways-ca.pem, gateways: [edge.internal] }}")
}

/// A client that trusts this authority and may have a certificate.
fn client(authority: &Authority, own: Option<&Issued>) -> reqwest::Client {
    let builder = http_client::client_builder().tls_certs_only([root(authority)]);
    let builder = match own {
        Some(issued) => builder.identity(identity(issued)),
        None => builder,
    };
    builder.build().unwrap()
}

fn url(site: &Site, path: &str) -> String {
    format!("https://{}{path}", site.address)
}

async fn request_token(site: &Site, client: &reqwest::Client, secret: Option<&str>) -> Answer {
    let body = json!({"session": "x".repeat(43)}).to_string();
    let request = client.request(Method::POST, url(site, "/v1/tokens"));
    let request = match secret {
        Some(secret) => request.header("authorization", format!("Bearer {secret}")),
        None => request,
    };
    send_request(request.body(body)).await
}

#[tokio::test]
async fn the_listener_speaks_https_and_uses_renewed_files() {
    let files = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new().unwrap(), Authority::new().unwrap());
    old.issue("127.0.0.1")
        .unwrap()
        .write(files.path(), "service")
        .unwrap();
    let site = Site::start(&tls_section(files.path(), "")).await;
    let live = async |client: &reqwest::Client| {
        let response = client.get(url(&site, "/health/live")).send().await;
        response.map(|response| response.status())
    };
    assert_eq!(live(&client(&old, None)).await.unwrap(), StatusCode::OK);
    assert!(live(&client(&new, None)).await.is_err());
    let plain = reqwest::get(format!("http://{}/health/live", site.address)).await;
    assert!(plain.is_err(), "plain HTTP is not answered");

    // A key that does not belong to the certificate is not used, whatever the order of the changes is.
    let renewed = new.issue("127.0.0.1").unwrap();
    std::fs::write(files.path().join("service.key"), &renewed.key).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    assert!(
        live(&client(&old, None)).await.is_ok(),
        "the previous files"
    );
    renewed.write(files.path(), "service").unwrap();
    eventually("the renewed certificate is used", async || {
        live(&client(&new, None)).await.is_ok()
    })
    .await;
    assert!(live(&client(&old, None)).await.is_err());
}

/// A site whose gateways have certificates. Returns its own authority and that of gateways.
async fn start_with_certificates(more: &str) -> (Site, TempDir, Authority, Authority) {
    let files = tempfile::tempdir().unwrap();
    let (service, gateways) = (Authority::new().unwrap(), Authority::new().unwrap());
    service
        .issue("127.0.0.1")
        .unwrap()
        .write(files.path(), "service")
        .unwrap();
    std::fs::write(files.path().join("gateways-ca.pem"), gateways.pem()).unwrap();
    let tls = tls_section(files.path(), &clients(files.path()));
    let site = Site::start(&format!("{tls}{more}")).await;
    (site, files, service, gateways)
}

#[tokio::test]
async fn a_gateway_authenticates_with_its_certificate_or_the_secret() {
    let secret = format!("gateways: {{ secret: {{ inline: {GATEWAY_SECRET} }} }}");
    let (site, _files, service, gateways) = start_with_certificates(&secret).await;
    let gateway = gateways.issue("edge.internal").unwrap();
    let other = gateways.issue("app.internal").unwrap();
    for (own, secret, reason) in [
        (Some(&gateway), None, "unknown-session"),
        (None, Some(GATEWAY_SECRET), "unknown-session"),
        (Some(&other), Some(GATEWAY_SECRET), "unknown-session"),
        (Some(&other), None, "unknown-gateway"),
        (None, None, "unknown-gateway"),
        (None, Some("not-the-secret-at-all"), "unknown-gateway"),
    ] {
        let answer = request_token(&site, &client(&service, own), secret).await;
        assert_eq!(answer.reason(), reason, "{secret:?}");
    }
    // A certificate of another authority ends the handshake, whatever its name is.
    let forged = Authority::new().unwrap().issue("edge.internal").unwrap();
    let forger = client(&service, Some(&forged));
    assert!(forger.get(url(&site, "/health/live")).send().await.is_err());
    // Browsers and operators have no certificates.
    let live = client(&service, None).get(url(&site, "/health/live"));
    assert_eq!(send_request(live).await.status, 200);
}

#[tokio::test]
async fn with_certificates_and_no_secret_other_callers_are_no_gateways() {
    let (site, _files, service, gateways) = start_with_certificates("").await;
    let gateway = gateways.issue("edge.internal").unwrap();
    let accepted = request_token(&site, &client(&service, Some(&gateway)), None).await;
    assert_eq!(accepted.reason(), "unknown-session");
    let refused = request_token(&site, &client(&service, None), None).await;
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (403, "unknown-gateway")
    );
}
