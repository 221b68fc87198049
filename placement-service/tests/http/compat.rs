//! The listeners that are compatible with Mira and with the older session service, with simulated engines.

use crate::events::CLIENTS;
use crate::site::{Answer, Site, eventually, send_request};
use berth_engine_sim::{Document, Engine, Options};
use berth_placement::core::clock::Clock;
use jsonwebtoken::{EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};

/// The key that the older login service signs with.
const OLDER_SERVICE_KEY: &str = "the key of another login service";

pub(crate) async fn start_site(secret: Option<&str>) -> (Site, Engine) {
    let engine = berth_engine_sim::start(Options {
        jwt_secret: secret.map(str::to_owned),
        documents: vec![Document::new("drugcases.qvf", 100)],
        ..Options::default()
    });
    let engine = engine.await.unwrap();
    let (port, metrics) = (engine.api_addr().port(), engine.metrics_addr().port());
    let site = Site::start(&format!(
        "{CLIENTS}
pools:
  - name: qix
    driver: qix
    cluster: engines
    capacity: {{ per_engine: 40 }}
    discovery: {{ static: [ {{ name: engine-0, ip: 127.0.0.1, port: {port}, metrics_port: {metrics} }} ] }}
routes:
  - {{ path: \"/doc/doc/{{document}}\", pool: qix, open: {{ document: \"/doc/{{document}}\" }} }}
  - {{ path: /doc/session-doc, pool: qix, open: session-app }}
compat:
  mira: {{ listen: \"127.0.0.1:0\" }}
  session_service: {{ listen: \"127.0.0.1:0\", keys: [ {{ algorithm: HS256, key: {{ inline: {OLDER_SERVICE_KEY} }} }} ], account_claim: name }}
"
    ))
    .await;
    eventually("the service is ready", async || {
        site.get("/health/ready", "").await.status == 200
    })
    .await;
    (site, engine)
}

pub(crate) fn sign_token(key: &str, claims: &Value) -> String {
    let key = EncodingKey::from_secret(key.as_bytes());
    encode(&Header::default(), claims, &key).unwrap()
}

pub(crate) fn berth_claims() -> Value {
    json!({"iss": "berth", "aud": "engine", "sub": "robot", "exp": 4_102_444_800_u64})
}

async fn request_session(site: &Site, path: &str, authorization: Option<&str>) -> Answer {
    let address = site.session_service.unwrap();
    let mut request = site.request_at(address, Method::GET, path);
    if let Some(value) = authorization {
        request = request.header("authorization", value);
    }
    send_request(request).await
}

async fn get_from_mira(site: &Site, path: &str) -> Answer {
    send_request(site.request_at(site.mira.unwrap(), Method::GET, path)).await
}

#[tokio::test]
async fn a_jwt_and_a_document_get_an_engine_with_a_session() {
    let (site, engine) = start_site(Some(&"k".repeat(40))).await;
    let bearer = format!("Bearer {}", sign_token(&"k".repeat(40), &berth_claims()));
    let found = request_session(&site, "/v1/session/doc/drugcases.qvf", Some(&bearer)).await;
    assert_eq!(found.status, 200, "{found:?}");
    let session = engine.sessions().remove(0);
    let expected = json!({"ip": "127.0.0.1", "port": engine.api_addr().port(), "sessionId": session.id,
        "docId": "drugcases.qvf"});
    assert_eq!(found.json(), expected);
    assert_eq!(session.user, "robot");
    let app = request_session(&site, "/v1/session/session-doc", Some(&bearer)).await;
    assert_eq!(app.status, 200, "{app:?}");
    let fields = app.json();
    assert!(fields["docId"].is_null() && fields["sessionId"] != expected["sessionId"]);
    assert_eq!(engine.stats().sessions, 2);

    let health = request_session(&site, "/v1/health", None).await;
    assert_eq!((health.status, health.text.as_str()), (200, "OK"));
    eventually("the probe has seen both sessions", async || {
        let metrics = request_session(&site, "/v1/metrics", None).await.text;
        metrics.contains("\nactive_sessions_nodes_total 2\n")
            && metrics.contains("\nremaining_sessions_nodes_total 38\n")
    })
    .await;
}

#[tokio::test]
async fn jwts_of_the_older_login_service_are_verified_with_its_key() {
    let (site, engine) = start_site(None).await;
    let now = site.clock.now_s();
    for (claims, status) in [
        (json!({"name": "ada", "roles": ["user"], "iat": now}), 200),
        (json!({"name": "ada", "exp": now + 60}), 200),
        (json!({"name": "ada", "exp": now - 60}), 401),
        (json!({"roles": ["user"], "iat": now}), 401),
        // Nothing limits its session.
        (json!({"name": "ada", "roles": ["user"]}), 401),
    ] {
        let bearer = format!("Bearer {}", sign_token(OLDER_SERVICE_KEY, &claims));
        let found = request_session(&site, "/v1/session/doc/drugcases.qvf", Some(&bearer)).await;
        assert_eq!(found.status, status, "{claims}: {found:?}");
    }
    assert_eq!(engine.stats().sessions, 2);
}

#[tokio::test]
async fn refusals_name_their_reason() {
    let (site, engine) = start_site(Some(&"k".repeat(40))).await;
    let good = format!("Bearer {}", sign_token(&"k".repeat(40), &berth_claims()));
    let foreign = format!(
        "Bearer {}",
        sign_token("a key that nobody knows here, 32+", &berth_claims())
    );
    let document = "/v1/session/doc/drugcases.qvf";
    for (path, authorization, status, reason) in [
        (document, None, 401, "no-session"),
        (document, Some("Basic YTpi"), 401, "bearer-invalid"),
        (document, Some(foreign.as_str()), 401, "bearer-invalid"),
        (
            "/v1/session/doc/none.qvf",
            Some(good.as_str()),
            404,
            "no-such-document",
        ),
        (
            "/v1/session/doc/..%2Fx",
            Some(good.as_str()),
            404,
            "no-such-document",
        ),
        (
            "/v1/session/doc/%ff",
            Some(good.as_str()),
            400,
            "invalid-request",
        ),
        ("/v1/tokens", Some(good.as_str()), 404, "not-found"),
    ] {
        let refused = request_session(&site, path, authorization).await;
        assert_eq!(
            (refused.status, refused.reason().as_str()),
            (status, reason),
            "{path}"
        );
    }
    engine.faults().set(|f| f.reject_jwt = true);
    let failed = request_session(&site, document, Some(&good)).await;
    assert_eq!(
        (failed.status, failed.reason().as_str()),
        (503, "engine-failed")
    );
    assert_eq!(failed.header("retry-after"), "1");
    assert!(
        request_session(&site, "/v1/metrics", None)
            .await
            .text
            .contains("# TYPE active_sessions_nodes_total gauge")
    );
}

#[tokio::test]
async fn engines_are_listed_in_the_format_of_mira() {
    let (site, engine) = start_site(None).await;
    let full = get_from_mira(&site, "/v1/engines").await.json();
    let [one] = full.as_array().unwrap().as_slice() else {
        panic!("not one engine: {full}");
    };
    assert_eq!(one["local"], json!({"name": "engine-0", "pool": "qix"}));
    let described = &one["engine"];
    assert_eq!(
        described["networks"],
        json!([{"name": "qix", "ip": "127.0.0.1"}])
    );
    assert_eq!(described["port"], engine.api_addr().port());
    assert_eq!(described["metricsPort"], engine.metrics_addr().port());
    assert_eq!(described["status"], "OK");
    assert!(described["health"]["mem"]["free"].as_f64().unwrap() > 0.0);
    assert_eq!(described["metrics"][0]["name"], "qix_active_sessions");
    let condensed = get_from_mira(&site, "/v1/engines?format=condensed")
        .await
        .json();
    assert!(condensed[0]["local"].is_null() && condensed[0]["engine"]["status"] == "OK");
    let wrong = get_from_mira(&site, "/v1/engines?format=short").await;
    assert_eq!(
        (wrong.status, wrong.reason().as_str()),
        (400, "invalid-request")
    );
    assert_eq!(get_from_mira(&site, "/health").await.text, "{}");
    assert!(
        get_from_mira(&site, "/metrics")
            .await
            .text
            .contains("berth_http_requests")
    );
    assert_eq!(get_from_mira(&site, "/v1/sessions").await.status, 404);
    engine.faults().set(|f| f.no_metrics = true);
    eventually("an engine without metrics is listed as such", async || {
        get_from_mira(&site, "/v1/engines").await.json()[0]["engine"]["status"] == "NO_METRICS"
    })
    .await;
}

#[tokio::test]
async fn mira_lists_everything_that_the_engine_said() {
    let (site, engine) = start_site(None).await;
    let listed = async || {
        let answer = get_from_mira(&site, "/v1/engines").await;
        answer.json()[0]["engine"].clone()
    };
    eventually("the metrics are known", async || {
        listed().await["metrics"]
            .as_array()
            .is_some_and(|list| list.len() > 5)
    })
    .await;
    let described = listed().await;
    assert_eq!(described["status"], "OK");
    let health = &described["health"];
    assert!(
        health["version"].is_string() && health["users"]["total"].is_u64(),
        "{health}"
    );
    assert!(health["session"]["total"].is_u64() && health["mem"]["allocated"].is_number());
    let families = described["metrics"].as_array().unwrap();
    let family = |name: &str| {
        families
            .iter()
            .find(|family| family["name"] == name)
            .unwrap()
    };
    assert_eq!(family("qix_requests_total")["type"], "counter");
    let version = &family("qix_build_info")["metrics"][0]["labels"]["version"];
    assert_eq!(version, &health["version"]);
    // The state is Berth's own.
    engine.faults().set(|f| f.no_metrics = true);
    eventually("the metrics are gone", async || {
        listed().await["status"] == "NO_METRICS"
    })
    .await;
}
