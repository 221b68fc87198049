//! The paths of routes that several places need, and the paths that clients of the edge may request. Knows no handler.

use crate::core::return_to::ReturnTo;

pub(super) const AFFINITIES_PATH: &str = "/v1/affinities";
pub(super) const AFFINITY_PATH: &str = "/v1/affinities/{key}";
pub(super) const ENGINES_PATH: &str = "/v1/engines";
pub(super) const DRAIN_PATH: &str = "/v1/engines/{pool}/{engine}/drain";
pub(super) const EXPLAIN_PATH: &str = "/v1/placements/explain";
pub(super) const GATEWAYS_PATH: &str = "/v1/gateways";
pub(super) const GATEWAY_DRAIN_PATH: &str = "/v1/gateways/{node}/drain";
pub(super) const STREAMS_PATH: &str = "/v1/streams";
pub(super) const STREAM_PATH: &str = "/v1/streams/{stream}";
pub(super) const SESSIONS_PATH: &str = "/v1/sessions";
pub(super) const DEAD_LETTERS_PATH: &str = "/v1/webhooks/{name}/dead-letters";
pub(super) const RETRY_PATH: &str = "/v1/webhooks/{name}/dead-letters/{sequence}/retry";
pub(super) const CONFIG_PATH: &str = "/v1/config";
pub(super) const RELOAD_PATH: &str = "/v1/reload";
pub(super) const EVENTS_PATH: &str = "/v1/events";
pub(super) const SESSION_PATH: &str = "/v1/sessions/{sid}";
pub(super) const CHILDREN_PATH: &str = "/v1/sessions/{sid}/children";
pub(super) const COMPLETE_PATH: &str = "/v1/sessions/{sid}/complete";

/// A path of the service that the edge forwards. Every other path is for gateways, operators and monitoring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicPath {
    /// A prefix if it ends in `/` and is longer than that, else the whole path.
    pub path: &'static str,
    pub when: Availability,
    /// A comment for the files of the edge.
    pub about: &'static str,
}

/// When a public path is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Always,
    /// With OpenID providers.
    Oidc,
    /// With transmitters of security events.
    SecurityEvents,
    /// With the page of the demonstration.
    DemoPage,
}

impl PublicPath {
    const fn always(path: &'static str, about: &'static str) -> Self {
        let when = Availability::Always;
        Self { path, when, about }
    }

    /// Whether the path is a prefix.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.path.len() > 1 && self.path.ends_with('/')
    }
}

/// The login page.
pub const LOGIN_PATH: &str = "/login";
/// The page where users manage their account.
pub(super) const ACCOUNT_PATH: &str = "/login/account";
/// The public keys that verify tokens.
pub const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Every public path.
pub const PUBLIC_PATHS: [PublicPath; 13] = [
    PublicPath::always(LOGIN_PATH, ""),
    PublicPath::always(
        ACCOUNT_PATH,
        "Users see and end their logins, and change their password.",
    ),
    PublicPath::always("/login/account/", ""),
    PublicPath {
        path: "/login/oidc/",
        when: Availability::Oidc,
        about: "Login at OpenID providers, their callback, and their notifications.",
    },
    PublicPath::always("/logout", ""),
    PublicPath::always("/session", ""),
    PublicPath::always("/session/placements", ""),
    PublicPath::always("/session/renew", ""),
    PublicPath::always("/berth/", "The browser module."),
    PublicPath::always("/is-authenticated", ""),
    PublicPath::always(JWKS_PATH, ""),
    PublicPath {
        path: "/security-events",
        when: Availability::SecurityEvents,
        about: "Security events from identity providers.",
    },
    PublicPath {
        path: "/",
        when: Availability::DemoPage,
        about: "The demonstration's page: not for production.",
    },
];

/// The path that starts a login at a provider. The name must be a valid name of a provider, because it is not encoded.
pub(super) fn oidc_path(provider: &str, return_to: Option<&ReturnTo>) -> String {
    let mut path = format!("/login/oidc/{provider}");
    if let Some(return_to) = return_to {
        path.push_str("?return_to=");
        path.extend(form_urlencoded::byte_serialize(
            return_to.as_str().as_bytes(),
        ));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{openapi, routes};
    use serde_json::Value;

    /// The paths of the router for browsers and for other services.
    fn public_routes() -> Vec<String> {
        let document = serde_json::to_value(routes().into_openapi()).unwrap();
        let for_the_edge = |operation: &Value| {
            let tag = operation["tags"][0].as_str();
            tag == Some(openapi::BROWSERS) || tag == Some(openapi::OTHERS)
        };
        let paths = document["paths"].as_object().unwrap().iter();
        paths
            .filter(|(_, item)| item.as_object().unwrap().values().any(for_the_edge))
            .map(|(path, _)| path.clone())
            .collect()
    }

    #[test]
    fn the_table_of_public_paths_matches_the_router() {
        let routes = public_routes();
        assert!(routes.len() > 10, "{routes:?}");
        let matches = |public: &PublicPath, route: &str| {
            if public.is_prefix() {
                route.starts_with(public.path)
            } else {
                route == public.path
            }
        };
        for route in &routes {
            let matching = PUBLIC_PATHS.iter().filter(|public| matches(public, route));
            assert_eq!(matching.count(), 1, "{route}");
        }
        for public in &PUBLIC_PATHS {
            let known = routes.iter().any(|route| matches(public, route));
            assert!(known, "{} is no route of the service", public.path);
        }
    }
}
