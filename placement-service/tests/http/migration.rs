//! The configurations of `docs/migration.md`, against a Redis, a Mira and engines as in the stack that Berth replaces,
//! and against a provider that issues the claims of Dex.

use crate::fake_provider::{FakeProvider, SECRET};
use crate::oidc::{login_session_id, start_login};
use crate::site::{Answer, Site, eventually, send_request};
use axum::Json;
use axum::routing::get;
use berth_databases::Redis;
use berth_engine_sim::{Document, Engine, Options};
use jsonwebtoken::{EncodingKey, Header, encode};
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../docs/migration.md");
/// As long as the one in the samples of the old stack: one byte less than HS256 requires.
const OLD_SECRET: &str = "the old stack has a secret of 3";
const DOCUMENT: &str = "/doc/doc/drugcases.qvf";

/// The text between two texts of the page.
fn part(from: &str, to: &str) -> String {
    let after = PAGE.split_once(from).unwrap().1;
    after.split_once(to).unwrap().0.to_owned()
}

/// The configuration of the section on the gateway.
fn gateway_config(redis_url: &str, mira_url: &str) -> String {
    let config = part("cat >berth.yaml <<'END'\n", "\nEND\n");
    let config = config.replace(
        "{ env: BERTH_STORE_URL }",
        &format!("{{ inline: \"{redis_url}\" }}"),
    );
    let config = config.replace(
        "{ env: OLD_JWT_SECRET }",
        &format!("{{ inline: \"{OLD_SECRET}\" }}"),
    );
    let config = config.replace("http://mira:9100", mira_url);
    assert!(!config.contains("env: OLD"), "{config}");
    config
}

async fn start_engine(secret: &str) -> Engine {
    let engine = berth_engine_sim::start(Options {
        jwt_secret: Some(secret.to_owned()),
        documents: vec![Document::new("drugcases.qvf", 100)],
        ..Options::default()
    });
    engine.await.unwrap()
}

/// A Mira with these engines. Returns its URL.
async fn start_mira(engines: &[&Engine]) -> String {
    let list: Vec<Value> = engines
        .iter()
        .map(|engine| {
            json!({"engine": {
                "networks": [{"name": "docker_default", "ip": "127.0.0.1"}],
                "port": engine.api_addr().port(), "metricsPort": engine.metrics_addr().port(),
                "status": "OK", "health": {"saturated": false}, "metrics": [], "labels": {"qix-engine": ""},
            }, "local": {"Id": "a"}})
        })
        .collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let list = get(move || async move { Json(list.clone()) });
    let router = axum::Router::new().route("/v1/engines", list);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn wait_until_ready(site: &Site) {
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
}

async fn place(site: &Site, session: &str, tab: &str) -> Answer {
    let body =
        json!({"session": session, "method": "GET", "path": DOCUMENT, "host": "h", "tab": tab});
    site.post_json("/v1/placements", body).await
}

/// What the login service of the old stack stores at a login: a JWT without `exp`.
async fn log_in_at_the_old_service(redis_url: &str, cookie: &str, account: &str) {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"sub": account, "roles": ["user"], "iat": now});
    let key = EncodingKey::from_secret(OLD_SECRET.as_bytes());
    let jwt = encode(&Header::default(), &claims, &key).unwrap();
    let client = redis::Client::open(redis_url).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis.set(format!("sess:{cookie}"), jwt).await.unwrap();
}

#[tokio::test]
async fn the_gateway_is_replaced_while_login_service_and_mira_continue() {
    assert_eq!(OLD_SECRET.len(), 31);
    let redis = Redis::shared().await.unwrap();
    let url = redis.database();
    // `tokens.key` of the site. The other engine has not been restarted with it yet.
    let (restarted, old) = (
        start_engine(&"k".repeat(40)).await,
        start_engine(OLD_SECRET).await,
    );
    let mira = start_mira(&[&restarted, &old]).await;
    let site = Site::start(&gateway_config(&url, &mira)).await;
    wait_until_ready(&site).await;
    log_in_at_the_old_service(&url, "cookie-of-ada", "ada").await;
    for tab in ["a", "b", "c", "d", "e", "f"] {
        let placed = place(&site, "cookie-of-ada", tab).await;
        assert_eq!(placed.status, 200, "{placed:?}");
        let expected = format!("127.0.0.1:{}", restarted.api_addr().port());
        assert_eq!(placed.json()["destination"], expected);
    }
    assert_eq!(restarted.sessions()[0].user, "ada");
    assert!(old.sessions().is_empty());
    let unknown = place(&site, "another-cookie", "a").await;
    assert_eq!(unknown.reason(), "unknown-session");
}

#[tokio::test]
async fn the_short_secret_of_the_old_stack_is_accepted_only_explicitly() {
    let redis = Redis::shared().await.unwrap();
    let config = gateway_config(&redis.database(), "http://127.0.0.1:1");
    let read = |text: &str| {
        let loaded = berth_placement::config::load::from_text(text).unwrap();
        let env = |_: &str| Some("k".repeat(40));
        let secrets = berth_placement::app::secrets::fetch(&loaded.config, &env);
        (
            secrets.map(drop).map_err(|faults| faults.to_string()),
            loaded.warnings,
        )
    };
    let (accepted, warnings) = read(&config);
    assert_eq!(accepted, Ok(()));
    let warned = warnings
        .iter()
        .filter(|w| w.contains("store.keys[0].allow_short_key"));
    assert_eq!(warned.count(), 1, "{warnings:?}");
    let (refused, _) = read(&config.replace(", allow_short_key: true", ""));
    let fault = refused.unwrap_err();
    assert!(
        fault.starts_with("store.keys[0].key: an HS256 secret needs 32 bytes"),
        "{fault}"
    );
    // Berth itself never signs with it.
    let own = config.replace(
        "{ env: BERTH_TOKEN_KEY }",
        &format!("{{ inline: \"{OLD_SECRET}\" }}"),
    );
    let fault = read(&own).0.unwrap_err();
    assert!(
        fault.starts_with("tokens.key: an HS256 secret needs 32 bytes"),
        "{fault}"
    );
}

#[tokio::test]
async fn a_gateway_that_asks_mira_can_ask_berth_instead() {
    let engine = start_engine(&"k".repeat(40)).await;
    let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
    let pool = |discovery: &str| {
        format!(
            "pools: [ {{ name: qix, driver: qix, cluster: engines, discovery: {discovery} }} ]\n\
             routes: [ {{ path: \"/doc/doc/{{document}}\", pool: qix, open: {{ document: \"/doc/{{document}}\" }} }} ]\n"
        )
    };
    let discovery = format!(
        "{{ static: [ {{ name: engine-0, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }} ] }}"
    );
    let listen = "compat: { mira: { listen: \"127.0.0.1:0\" } }";
    let mira = Site::start(&format!("{}{listen}", pool(&discovery))).await;
    wait_until_ready(&mira).await;
    let url = format!("{{ mira: {{ url: \"http://{}\" }} }}", mira.mira.unwrap());
    let gateway = Site::start(&pool(&url)).await;
    wait_until_ready(&gateway).await;
    let session = gateway.login().await;
    let placed = place(&gateway, &session, "a").await;
    assert_eq!(placed.status, 200, "{placed:?}");
    assert_eq!(engine.sessions()[0].user, "demo");
}

#[tokio::test]
async fn users_of_github_log_in_through_a_broker() {
    let idp = FakeProvider::start().await;
    let config = part("```yaml\nlogin:", "\n```");
    let config = format!("login:{config}\n");
    let config = config.replace("https://dex.example.com", &idp.issuer());
    let config = config.replace(
        "{ env: BERTH_OIDC_SECRET }",
        &format!("{{ inline: \"{SECRET}\" }}"),
    );
    let config = config.replace("login: { public_url: \"https://app.example.com\" }\n", "");
    let site = Site::start(&config).await;
    // As Dex with its GitHub connector.
    idp.behaviour().claims = json!({
        "sub": "CgcxMjM0NTY3EgZnaXRodWI", "preferred_username": "octocat", "name": "The Octocat",
        "email": "octocat@example.com", "email_verified": true, "groups": ["acme:staff", "acme:birds"],
    });
    let redirect = start_login(&site, "/login/oidc/github").await;
    let scopes = &redirect.request["scope"];
    assert!(scopes.contains("groups"), "{scopes}");
    let query = idp.authorize(&redirect.request);
    let callback = site.request(Method::GET, &format!("/login/oidc/github/callback?{query}"));
    let answer = send_request(callback.header("cookie", redirect.cookie)).await;
    let id = login_session_id(&answer);
    let token = site.token(&id).await.json();
    assert_eq!(
        (&token["account"], &token["display_name"], &token["roles"]),
        (
            &json!("github:octocat"),
            &json!("The Octocat"),
            &json!(["user"])
        )
    );
}
