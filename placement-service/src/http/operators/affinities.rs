//! `/v1/affinities`: operators list the keys that have an engine, and release them.

use super::auth::OperatorAuth;
use super::query::parse_query;
use crate::http::openapi::{OPERATORS, ProblemResponse};
use crate::http::paths::{AFFINITIES_PATH, AFFINITY_PATH};
use crate::http::problem::HttpProblem;
use crate::http::state::App;
use crate::placement::key_views::KeyPage;
use crate::sessions::store_down;
use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

/// Keys of one page.
const PAGE: u32 = 500;

/// `GET /v1/affinities?pool=NAME&engine=NAME`: the keys that have an engine, by engine, in pages.
#[utoipa::path(get, path = AFFINITIES_PATH, tag = OPERATORS, security(("client" = [])),
    params(("pool" = String, Query, description = "The pool's name"), ("engine" = Option<String>, Query, description = "Only the keys of this engine"),
        ("after" = Option<String>, Query, description = "`next` of the previous page")),
    responses((status = 200, body = KeyPage), ProblemResponse<400>, ProblemResponse<403>, ProblemResponse<503>))]
pub(in crate::http) async fn list_affinities(
    _: OperatorAuth,
    State(app): State<App>,
    uri: Uri,
) -> Result<Json<KeyPage>, HttpProblem> {
    let [pool, engine, after] = parse_query(&uri, ["pool", "engine", "after"])?;
    let pool = pool.ok_or_else(|| HttpProblem::invalid_request("pool is missing"))?;
    let listed = app
        .placement
        .list_keys(&pool, engine.as_deref(), after.as_deref(), PAGE);
    Ok(Json(listed.await.map_err(|e| store_down(&e))?))
}

/// `DELETE /v1/affinities/{key}`: takes a key away from its engine. The next request of the key gets an engine anew;
/// WebSockets stay open.
#[utoipa::path(delete, path = AFFINITY_PATH, tag = OPERATORS, security(("client" = [])),
    params(("key" = String, Path, description = "The opaque name of the key")),
    responses((status = 204), ProblemResponse<403>, ProblemResponse<404>, ProblemResponse<503>))]
pub(in crate::http) async fn release_affinity(
    _: OperatorAuth,
    State(app): State<App>,
    path: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, HttpProblem> {
    let Path(key) = path.map_err(|_| HttpProblem::no_such_key())?;
    let released = app.placement.release_key(&key).await;
    if released.map_err(|e| store_down(&e))? {
        tracing::info!(key, "a key is released");
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(HttpProblem::no_such_key())
    }
}
