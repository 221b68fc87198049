//! `compat.session_service`: the API of the older session service. It takes a JWT and a document, and answers with the
//! address of an engine and the session that is prepared there. Such a placement counts like one of a gateway.

use crate::config::{self, SessionService as Config};
use crate::core::rejection::Rejection;
use crate::http::bearer::{MalformedAuthorization, read_bearer_token};
use crate::http::openapi::{self, OPERATORS, OTHERS, ProblemResponse};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::placement::{PlaceRequest, Placement};
use crate::sessions::BearerClaims;
use crate::sessions::LiveSession;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use berth_api::RejectReason;
use berth_store::redis_jwt::{JwtKey, JwtRules};
use serde::Serialize;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::time::Instant;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const DOCUMENT_PATH: &str = "/v1/session/doc/{docId}";
const SESSION_DOC_PATH: &str = "/v1/session/session-doc";
const HEALTH_PATH: &str = "/v1/health";
const METRICS_PATH: &str = "/v1/metrics";

/// The prefix of a document's name in requests of clients, and in placements.
const DOCUMENT_PREFIX: &str = "/v1/session/doc/";
const PLACEMENT_PREFIX: &str = "/doc/doc/";
const SESSION_DOC_PLACEMENT_PATH: &str = "/doc/session-doc";
const SESSION_HEADER: &str = "x-qlik-session";
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How to verify JWTs of another login service; `None` if no keys are configured.
#[must_use]
pub fn jwt_rules(
    config: &Config,
    session: &config::Session,
    keys: Vec<JwtKey>,
) -> Option<JwtRules> {
    (!keys.is_empty()).then(|| JwtRules {
        keys,
        issuer: None,
        audience: None,
        account_claim: config.account_claim.clone(),
        roles_claim: config.roles_claim.clone(),
        idle_timeout: session.idle_timeout,
        absolute_timeout: session.absolute_timeout,
    })
}

pub(in crate::http) fn routes() -> OpenApiRouter<App> {
    openapi::routes()
        .routes(routes!(document))
        .routes(routes!(session_doc))
        .routes(routes!(health))
        .routes(routes!(metrics))
}

/// The process answers.
#[utoipa::path(get, path = HEALTH_PATH, tag = OTHERS, responses((status = 200, description = "`OK`", body = String, content_type = "text/plain")))]
async fn health() -> &'static str {
    "OK"
}

/// The engine and the session that is prepared there.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Placed)]
struct SessionLocation {
    #[schema(value_type = String)]
    ip: IpAddr,
    port: u16,
    session_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    doc_id: Option<String>,
}

/// `GET /v1/session/doc/{docId}`: is placed like `/doc/doc/{docId}`.
#[utoipa::path(get, path = DOCUMENT_PATH, tag = OTHERS, security(("jwt" = [])),
    params(("docId" = String, Path, description = "The document's name")),
    responses((status = 200, body = SessionLocation), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<429>, ProblemResponse<500>, ProblemResponse<503>))]
async fn document(
    State(app): State<App>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<SessionLocation>, HttpProblem> {
    // Not decoded: `placement::routes` decodes the name.
    let name = uri.path().strip_prefix(DOCUMENT_PREFIX).unwrap_or_default();
    let doc_id = crate::placement::routes::document_name(name)?;
    let path = format!("{PLACEMENT_PREFIX}{name}");
    place_session(&app, &headers, &path, Some(doc_id)).await
}

/// `GET /v1/session/session-doc`: a document that exists in memory only.
#[utoipa::path(get, path = SESSION_DOC_PATH, tag = OTHERS, security(("jwt" = [])),
    responses((status = 200, body = SessionLocation), ProblemResponse<400>, ProblemResponse<401>, ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<429>, ProblemResponse<500>, ProblemResponse<503>))]
async fn session_doc(
    State(app): State<App>,
    headers: HeaderMap,
) -> Result<Json<SessionLocation>, HttpProblem> {
    place_session(&app, &headers, SESSION_DOC_PLACEMENT_PATH, None).await
}

async fn place_session(
    app: &App,
    headers: &HeaderMap,
    path: &str,
    doc_id: Option<String>,
) -> Result<Json<SessionLocation>, HttpProblem> {
    let token = read_jwt(headers)?;
    let session = Arc::new(resolve_session(app, token).await?);
    let request = PlaceRequest {
        upgrade: true,
        session: &session,
        token,
        host: "",
        path,
        tab: None,
    };
    let placed = app.placement.place(request).await?;
    // As for gateways, the session may have ended during the placement.
    if !app.sessions.is_still_active(&session) {
        app.placement.release_placement(&placed);
        app.placement.end_login(&session.session_ref);
        return Err(RejectReason::UnknownSession.into());
    }
    let placed =
        locate_session(app, &placed).inspect_err(|_| app.placement.release_placement(&placed));
    let (address, session_id) = placed?;
    Ok(Json(SessionLocation {
        ip: address.ip(),
        port: address.port(),
        session_id,
        doc_id,
    }))
}

/// The engine's address, and the engine session.
fn locate_session(app: &App, placed: &Placement) -> Result<(SocketAddr, String), Rejection> {
    let session = placed.set_headers.get(SESSION_HEADER).cloned();
    let session = session.ok_or_else(|| {
        let detail = "the pool of the route prepares no sessions";
        Rejection::new(RejectReason::NoSuchRoute).with_detail(detail)
    })?;
    Ok((
        engine_address(app, placed).ok_or(RejectReason::NoEngine)?,
        session,
    ))
}

/// The JWT of the caller.
fn read_jwt(headers: &HeaderMap) -> Result<&str, Rejection> {
    match read_bearer_token(headers) {
        Ok(Some(token)) => Ok(token),
        Ok(None) => Err(RejectReason::NoSession.into()),
        Err(MalformedAuthorization) => Err(Rejection::new(RejectReason::BearerInvalid)
            .with_detail("Authorization must be Bearer and a JWT")),
    }
}

/// Verifies the token with the keys of the other login service, then with the service's own keys.
async fn resolve_session(app: &App, token: &str) -> Result<LiveSession, Rejection> {
    let verified = app.session_service_rules.as_ref();
    let verified =
        verified.and_then(|rules| BearerClaims::verify_with(token, rules, app.tokens.now_ms()));
    let bearer = match verified {
        Some(bearer) => bearer,
        None => app.tokens.verify(token)?,
    };
    app.sessions
        .resolve_bearer(token, bearer, &app.tokens)
        .await
}

/// The address of the engine. Placements in a pool with one cluster per engine have no destination; then the address
/// comes from the fleet.
fn engine_address(app: &App, placed: &Placement) -> Option<SocketAddr> {
    if let Some(destination) = &placed.destination {
        return destination.parse().ok();
    }
    let fleet = app.placement.fleet().snapshot();
    let pool = fleet.pools().iter().find(|p| *p.name == *placed.pool)?;
    let mut engines = pool.engines.iter();
    let engine = engines.find(|e| e.name.as_str() == placed.engine)?;
    Some(engine.endpoint.api)
}

/// `GET /v1/metrics`: the two gauges that autoscalers of the older service read, over all pools.
#[utoipa::path(get, path = METRICS_PATH, tag = OPERATORS, responses((status = 200, description = "Prometheus", body = String, content_type = "text/plain")))]
async fn metrics(State(app): State<App>) -> Response {
    let (fleet, now) = (app.placement.fleet().snapshot(), Instant::now());
    let (mut active, mut remaining) = (0_u64, None);
    for (pool, config) in fleet.pools().iter().zip(&app.config.pools) {
        for engine in pool.engines.iter().filter(|e| e.is_up()) {
            let sessions = engine.sessions(now);
            active += u64::from(sessions);
            if engine.accepts_sessions(now)
                && let Some(threshold) = config.capacity.per_engine
            {
                let free_sessions = u64::from(threshold.saturating_sub(sessions));
                *remaining.get_or_insert(0) += free_sessions;
            }
        }
    }
    let mut text = gauge(
        "active_sessions_nodes_total",
        "Sessions on all engines",
        active,
    );
    if let Some(free_sessions) = remaining {
        let help = "Sessions that all engines may still take, by their thresholds";
        text += &gauge("remaining_sessions_nodes_total", help, free_sessions);
    }
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response()
}

fn gauge(name: &str, help: &str, value: u64) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
    );
    text
}
