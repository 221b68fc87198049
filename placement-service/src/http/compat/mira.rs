//! `compat.mira`: lists the engines in the format of Mira, each with its state, and with the healthcheck and the metrics
//! that it returned. Reads the fleet and changes nothing.

use crate::engines::fleet::{Fleet, PoolFleet};
use crate::http::health;
use crate::http::openapi::{self, OTHERS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use axum::Json;
use axum::extract::State as Extract;
use axum::http::Uri;
use berth_scheduler::engine::{Engine, Load, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const ENGINES_PATH: &str = "/v1/engines";
const HEALTH_PATH: &str = "/health";

pub(in crate::http) fn routes() -> OpenApiRouter<App> {
    openapi::routes()
        .routes(routes!(engines))
        .routes(routes!(health))
        .routes(routes!(health::metrics))
}

/// The process answers.
#[utoipa::path(get, path = HEALTH_PATH, tag = OTHERS, responses((status = 200, description = "`{}`", body = Map<String, Value>)))]
async fn health() -> Json<Map<String, Value>> {
    Json(Map::new())
}

#[derive(Serialize, ToSchema)]
#[schema(as = MiraEngine)]
struct MiraEngine {
    engine: MiraEngineDetails,
    /// The source of the engine, which the condensed format omits.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Value>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct MiraEngineDetails {
    networks: [Value; 1],
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics_port: Option<u16>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metrics: Option<Vec<Value>>,
    labels: Value,
}

/// `GET /v1/engines[?format=full|condensed]`.
#[utoipa::path(get, path = ENGINES_PATH, tag = OTHERS,
    params(("format" = Option<String>, Query, description = "`full`, the default, or `condensed`")),
    responses((status = 200, body = Vec<MiraEngine>), ProblemResponse<400>))]
async fn engines(
    Extract(app): Extract<App>,
    uri: Uri,
) -> Result<Json<Vec<MiraEngine>>, HttpProblem> {
    let wants_condensed = is_condensed(uri.query().unwrap_or_default())?;
    let fleet = app.placement.fleet().snapshot();
    let fleet = &fleet;
    let engines = fleet.pools().iter().flat_map(|pool| {
        let engines = pool.engines.iter();
        engines.map(move |engine| describe_engine(fleet, pool, engine, wants_condensed))
    });
    Ok(Json(engines.collect()))
}

fn is_condensed(query: &str) -> Result<bool, HttpProblem> {
    let mut condensed = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "format" {
            condensed = match &*value {
                "condensed" => true,
                "full" => false,
                _ => {
                    return Err(HttpProblem::invalid_request(
                        "format must be full or condensed",
                    ));
                }
            };
        }
    }
    Ok(condensed)
}

fn describe_engine(
    fleet: &Fleet,
    pool: &PoolFleet,
    engine: &Engine,
    condensed: bool,
) -> MiraEngine {
    let (api, load) = (engine.endpoint.api, engine.load.as_deref());
    // The content of the probe is as old as its load.
    let report = load.and_then(|_| fleet.report(&pool.name, &engine.name));
    let said_health = report.and_then(|report| report.health.clone());
    let said_metrics = report.and_then(|report| report.metrics.as_ref());
    MiraEngine {
        engine: MiraEngineDetails {
            networks: [json!({ "name": &*pool.name, "ip": api.ip() })],
            port: api.port(),
            metrics_port: engine.endpoint.metrics.map(|address| address.port()),
            status: status(engine),
            health: said_health.or_else(|| load.map(healthcheck)),
            metrics: said_metrics
                .map(|families| families.iter().map(|family| json!(family)).collect())
                .or_else(|| load.map(metrics)),
            labels: json!({}),
        },
        local: (!condensed).then(|| json!({ "name": engine.name.as_str(), "pool": &*pool.name })),
    }
}

/// Readers of this status place sessions by it. So an engine that gets no new sessions is `UNHEALTHY`, except a
/// saturated one, because `health` reports that.
fn status(engine: &Engine) -> &'static str {
    match engine.state {
        _ if !engine.accepts_sessions(Instant::now()) => "UNHEALTHY",
        State::NoMetrics => "NO_METRICS",
        _ => "OK",
    }
}

/// The load in the format of a QIX engine's healthcheck, without values that are not known.
fn healthcheck(load: &Load) -> Value {
    let mut health =
        json!({ "saturated": load.saturated, "apps": { "in_memory_docs": load.documents } });
    let paths = [
        (
            "mem",
            load.memory
                .map(|m| json!({ "committed": m.committed, "free": m.free })),
        ),
        ("cpu", load.cpu.map(|total| json!({ "total": total }))),
        (
            "session",
            load.sessions.map(|active| json!({ "active": active })),
        ),
    ];
    if let Some(fields) = health.as_object_mut() {
        fields.extend(
            paths
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
    }
    health
}

/// The load as Prometheus metric families in JSON.
fn metrics(load: &Load) -> Vec<Value> {
    let family = |name: &str, help: &str, value: f64| json!({ "name": name, "help": help, "type": "gauge", "metrics": [{ "value": value, "labels": {} }] });
    let sessions = load.sessions.map(|count| {
        family(
            "qix_active_sessions",
            "Sessions on the engine",
            f64::from(count),
        )
    });
    sessions.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_scheduler::accounting::EngineAccounting;
    use berth_scheduler::engine::{Endpoint, Memory};
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn the_format_is_full_or_condensed() {
        assert!(!is_condensed("").unwrap() && !is_condensed("format=full&x=1").unwrap());
        assert!(is_condensed("format=condensed").unwrap());
        assert!(is_condensed("format=Condensed").is_err());
    }

    #[test]
    fn unknown_values_are_omitted() {
        assert_eq!(
            healthcheck(&Load::default()),
            json!({ "saturated": false, "apps": { "in_memory_docs": [] } })
        );
        assert!(metrics(&Load::default()).is_empty());
        let load = Load {
            sessions: Some(3),
            memory: Some(Memory {
                committed: 10.0,
                free: 20.0,
            }),
            cpu: Some(0.5),
            saturated: true,
            documents: vec!["a".to_owned()],
        };
        let healthcheck_body = healthcheck(&load);
        assert_eq!(
            healthcheck_body["mem"],
            json!({ "committed": 10.0, "free": 20.0 })
        );
        assert_eq!(
            (
                &healthcheck_body["cpu"]["total"],
                &healthcheck_body["session"]["active"]
            ),
            (&json!(0.5), &json!(3))
        );
        assert_eq!(
            (
                &healthcheck_body["saturated"],
                &healthcheck_body["apps"]["in_memory_docs"]
            ),
            (&json!(true), &json!(["a"]))
        );
        assert_eq!(metrics(&load)[0]["metrics"][0]["value"], json!(3.0));
    }

    #[test]
    fn an_engine_that_gets_no_sessions_is_unhealthy() {
        let endpoint = Endpoint {
            api: ([127, 0, 0, 1], 1).into(),
            metrics: None,
        };
        let accounting = Arc::new(EngineAccounting::new(Duration::from_secs(30)));
        let mut engine = Engine::new("e".into(), endpoint, accounting);
        for state in State::ALL {
            let expected = match state.as_str() {
                "ok" | "saturated" => "OK",
                "no-metrics" => "NO_METRICS",
                _ => "UNHEALTHY",
            };
            engine.state = state;
            assert_eq!(status(&engine), expected);
        }
        engine.state = State::Ok;
        engine.accounting.set_draining(true);
        assert_eq!(status(&engine), "UNHEALTHY");
        engine.accounting.set_draining(false);
        engine
            .accounting
            .record_failure(Instant::now(), Instant::now());
        assert_eq!(status(&engine), "UNHEALTHY");
    }
}
