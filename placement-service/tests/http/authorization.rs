//! The `Authorization` header is read alike on all routes that take a bearer token: those of gateways, of clients, and
//! of the older session service.

use crate::compat::{berth_claims, sign_token};
use crate::events::CLIENTS;
use crate::site::{Site, send_request};
use reqwest::Method;
use std::net::SocketAddr;

struct Route {
    at: SocketAddr,
    method: Method,
    path: &'static str,
    token: String,
    /// The reason of the rejection of a malformed header.
    reason: &'static str,
}

/// The reason of a rejection; empty when the caller is accepted.
async fn reason(site: &Site, route: &Route, values: &[String]) -> String {
    let mut request = site.request_at(route.at, route.method.clone(), route.path);
    for value in values {
        request = request.header("authorization", value);
    }
    let answer = send_request(request.body("{}")).await;
    let rejected = matches!(answer.status, 401 | 403);
    if rejected {
        answer.reason()
    } else {
        String::new()
    }
}

#[tokio::test]
async fn every_route_reads_one_token_and_ignores_the_case_of_the_scheme() {
    let site = Site::start(&format!(
        "{CLIENTS}
gateways: {{ secret: {{ inline: gateway-secret-16 }} }}
compat: {{ session_service: {{ listen: \"127.0.0.1:0\" }} }}
"
    ))
    .await;
    let route = |at, method, path, token: &str, reason| Route {
        at,
        method,
        path,
        token: token.to_owned(),
        reason,
    };
    let jwt = sign_token(&"k".repeat(40), &berth_claims());
    for route in [
        route(
            site.address,
            Method::POST,
            "/v1/tokens",
            "gateway-secret-16",
            "unknown-gateway",
        ),
        route(
            site.address,
            Method::GET,
            "/v1/events",
            "operator-secret-1",
            "unknown-client",
        ),
        route(
            site.session_service.unwrap(),
            Method::GET,
            "/v1/session/doc/sales.qvf",
            &jwt,
            "bearer-invalid",
        ),
    ] {
        let token = &route.token;
        for value in [
            format!("Bearer {token}"),
            format!("bearer {token}"),
            format!("BEARER  {token}"),
        ] {
            assert_eq!(
                reason(&site, &route, &[value]).await,
                "",
                "{} {token}",
                route.path
            );
        }
        let good = format!("Bearer {token}");
        for values in [
            vec![good.clone(), good.clone()],
            vec!["Basic YTpi".to_owned(), good.clone()],
            vec![format!("{good} x")],
            vec![format!("{good}, {good}")],
            vec![format!("Basic {token}")],
            vec![format!("Bearer{token}")],
            vec!["Bearer".to_owned()],
            vec![token.clone()],
        ] {
            let given = reason(&site, &route, &values).await;
            assert_eq!(given, route.reason, "{} {values:?}", route.path);
        }
    }
}
