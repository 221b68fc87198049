//! Behaviour that only a real browser can show: Chromium, driven by the Node tests in `tests/browser`, against the
//! whole stack. Each test here starts one stack and runs the test files that need it.

use crate::node;
use berth_harness::oidc_provider::OidcProvider;
use berth_harness::stack::Builder;
use berth_harness::{Result, Stack, paths};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the files against a stack with this service configuration. Exactly `tests` tests must pass.
async fn run_with_config(
    service: &Value,
    engines: usize,
    files: &[&str],
    tests: usize,
) -> Result<()> {
    let builder = Stack::builder().engines(engines).service_config(service);
    run_on_builder(builder, files, tests).await
}

async fn run_on_builder(builder: Builder, files: &[&str], tests: usize) -> Result<()> {
    let mut stack = builder.start().await?;
    let site = stack.address().to_string();
    run_in_stack(&mut stack, &site, files, tests).await
}

/// Runs the files against a running stack. `site`: the host and port that the browser uses.
async fn run_in_stack(stack: &mut Stack, site: &str, files: &[&str], tests: usize) -> Result<()> {
    let packages = paths::repository_root().join("tests/browser/node_modules/playwright-core");
    node::require(
        Path::new(node::CHROMIUM),
        "apt-get install -y --no-install-recommends chromium",
    )?;
    node::require(&packages, "npm ci --prefix tests/browser")?;
    let scheme = if stack.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    stack
        .service()?
        .add_account("ada", "ada-password", &["user"])?;
    let admin: Vec<String> = stack
        .engines
        .iter()
        .map(|engine| format!("http://{}", engine.metrics))
        .collect();
    let env = [
        ("BERTH_URL", format!("{scheme}://{site}")),
        ("BERTH_ADMIN", format!("http://{}", stack.envoy.admin)),
        ("BERTH_APP", format!("http://{}", stack.app.addr)),
        ("BERTH_ENGINES", json!(admin).to_string()),
    ];
    node::run("browser", files, tests, 60, &env).await
}

#[tokio::test]
async fn browser_tests_of_login_page_dialog_and_tabs_pass() -> Result<()> {
    let files = [
        "login.test.mjs",
        "dialog.test.mjs",
        "straggler.test.mjs",
        "tabs.test.mjs",
        "readme.test.mjs",
    ];
    run_with_config(&json!({}), 1, &files, 24).await
}

#[tokio::test]
async fn browser_tests_of_the_account_page_pass() -> Result<()> {
    run_with_config(&json!({}), 1, &["account.test.mjs"], 2).await
}

#[tokio::test]
async fn browser_tests_of_the_idle_warning_pass() -> Result<()> {
    let service = json!({"session": {"idle_timeout": "6s"}});
    run_with_config(&service, 1, &["idle.test.mjs"], 5).await
}

#[tokio::test]
async fn browser_tests_of_the_absolute_timeout_pass() -> Result<()> {
    let service = json!({"session": {"idle_timeout": "7s", "absolute_timeout": "7s"}});
    run_with_config(&service, 1, &["absolute.test.mjs"], 2).await
}

#[tokio::test]
async fn browser_tests_of_reconnecting_sockets_pass() -> Result<()> {
    run_with_config(&json!({}), 2, &["socket.test.mjs"], 11).await
}

#[tokio::test]
async fn browser_tests_of_close_codes_pass() -> Result<()> {
    let service = json!({"session": {"idle_timeout": "12s", "absolute_timeout": "12s"}});
    run_with_config(&service, 1, &["closing.test.mjs"], 2).await
}

#[tokio::test]
async fn browser_tests_of_http2_pass() -> Result<()> {
    let builder = Stack::builder().engines(1).tls();
    run_on_builder(builder, &["http2.test.mjs"], 1).await
}

#[tokio::test]
async fn browser_tests_of_an_identity_provider_pass() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let provider = OidcProvider::start(dir.path()).await?;
    let service = json!({"oidc": provider.config()});
    let builder = Stack::builder().engines(1).service_config(&service);
    let mut stack = builder.start().await?;
    let site = stack.address().to_string();
    provider.register(&site).await?;
    run_in_stack(&mut stack, &site, &["provider.test.mjs"], 5).await
}

/// For a browser, `localhost` is another site than 127.0.0.1, where the provider is.
#[tokio::test]
async fn browser_tests_of_a_strict_cookie_pass() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let provider = OidcProvider::start(dir.path()).await?;
    let service = json!({
        "oidc": provider.config(),
        "login": {"local": false},
        "session": {"cookie": {"same_site": "strict"}},
    });
    let builder = Stack::builder().engines(1).service_config(&service);
    let mut stack = builder.start().await?;
    let site = format!("localhost:{}", stack.address().port());
    provider.register(&site).await?;
    run_in_stack(&mut stack, &site, &["strict.test.mjs"], 1).await
}
