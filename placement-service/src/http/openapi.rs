//! The OpenAPI document of each listener (`/openapi.json`), and the pages to try its routes (`/swagger-ui/`). The
//! document is generated from the routes and from the types of their bodies; only authentication and rejections are
//! described here.

use super::problem::HttpProblem;
use super::state::App;
use axum::extract::Extension;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes};
use berth_api::Problem;
use std::collections::BTreeMap;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{self, ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::{Config, SwaggerUi};

const PATH: &str = "/openapi.json";
const UI_PATH: &str = "/swagger-ui";

/// Tags of operations: who calls them.
pub(super) const GATEWAYS: &str = "gateways";
pub(super) const OPERATORS: &str = "operators and runtimes";
pub(super) const BROWSERS: &str = "browsers";
pub(super) const OTHERS: &str = "other services";

/// A document without routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Berth placement service",
        description = "Login sessions, engines, placements. Rejections are problem+json (RFC 9457) with a constant `reason`.",
    ),
    modifiers(&SharedComponents),
)]
struct BaseDocument;

/// The components that routes refer to: the ways to authenticate, and the problem.
struct SharedComponents;

impl Modify for SharedComponents {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let problem = (HttpProblem::name().into_owned(), HttpProblem::schema());
        components.schemas.extend([problem]);
        let bearer = |description| {
            let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
            SecurityScheme::Http(bearer.description(Some(description)).build())
        };
        let schemes = [
            (
                "gateway",
                bearer("`gateways.secret`; not needed if it is not set"),
            ),
            ("client", bearer("The secret of one of `api.clients`")),
            ("jwt", bearer("The JWT of a user")),
            (
                "session",
                SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(
                    "__Host-berth",
                    "The login cookie; `berth` if `session.cookie.secure` is off",
                ))),
            ),
        ];
        for (name, scheme) in schemes {
            components.add_security_scheme(name, scheme);
        }
    }
}

/// The response of a rejection with that status.
pub(super) struct ProblemResponse<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for ProblemResponse<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        BTreeMap::from([(STATUS.to_string(), problem_response(STATUS).build().into())])
    }
}

/// The response of a rejection with that status: a page for browsers, a problem for other clients.
pub(super) struct PageOrProblem<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for PageOrProblem<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<openapi::Response>> {
        let page = ContentBuilder::new().schema(Some(String::schema())).build();
        let response = problem_response(STATUS).content("text/html", page);
        BTreeMap::from([(STATUS.to_string(), response.build().into())])
    }
}

fn problem_response(status: u16) -> ResponseBuilder {
    let status_code = StatusCode::from_u16(status).ok();
    let reason_phrase = status_code.and_then(|status| status.canonical_reason());
    let schema = Ref::from_schema_name(HttpProblem::name());
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new()
        .description(reason_phrase.unwrap_or("Login Timeout"))
        .content(Problem::CONTENT_TYPE, content)
}

/// A router without routes, with the base of its document.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(BaseDocument::openapi())
}

/// Adds the document of the routes, and the pages that show it.
pub(super) fn with_document(routes: OpenApiRouter<App>) -> Router<App> {
    let (routes, document) = routes
        .routes(utoipa_axum::routes!(openapi_document))
        .split_for_parts();
    // Cannot fail: the document has only strings, numbers and maps with string keys.
    let text = document.to_json().unwrap_or_default();
    routes
        .layer(Extension(DocumentText(Bytes::from(text))))
        .merge(SwaggerUi::new(UI_PATH).config(Config::from(PATH)))
}

#[derive(Clone)]
struct DocumentText(Bytes);

/// This document.
#[utoipa::path(get, path = PATH, tag = OPERATORS,
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json", body = serde_json::Value)))]
async fn openapi_document(Extension(DocumentText(text)): Extension<DocumentText>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
