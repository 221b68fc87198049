//! What happens to a request by its host and its path: the first matching route gives the action, and which credentials
//! besides a login session it accepts. Knows no method, and no other header.

use crate::request::origin;
use crate::request::path::{is_below, without_query};
use serde::Deserialize;
use std::rc::Rc;

/// What the filter does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A WebSocket gets an engine and the JWT for it, and so does a plain request if the route allows it.
    Place,
    /// The request gets the JWT; Envoy's own route says where it goes.
    Authenticate,
    /// Internal headers are removed, nothing is added.
    Bypass,
}

impl Action {
    /// Every action.
    pub const ALL: &[Self] = &[Self::Place, Self::Authenticate, Self::Bypass];

    /// The name in the configuration and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Place => "place",
            Self::Authenticate => "authenticate",
            Self::Bypass => "bypass",
        }
    }
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The host that it matches, in lower case and without port; `None`: any.
    pub host: Option<String>,
    /// The paths that it matches.
    pub pattern: Pattern,
    /// What happens to them.
    pub action: Action,
    /// Whether plain requests go to the engine of their key; otherwise a place route is for WebSockets only.
    pub plain_http: bool,
    /// Which requests keep the session and the key alive.
    pub activity: Activity,
    /// A client may authenticate with a JWT of its own in place of a login cookie.
    pub bearer: bool,
    /// A request without a session passes without a token.
    pub anonymous: bool,
    /// What happens to a request whose session is over.
    pub on_login_timeout: LoginTimeout,
    /// The maximum age of its WebSockets.
    pub max_age: Option<MaxAge>,
    /// One of these is needed; empty: any account may use the route.
    pub roles: Rc<[String]>,
}

/// Which requests of clients count as activity of their session and of their key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// Every request, and data on WebSockets.
    #[default]
    All,
    /// Requests with unsafe methods, and data on WebSockets.
    Unsafe,
    /// None.
    None,
}

impl Activity {
    /// Whether a plain request counts.
    #[must_use]
    pub const fn counts_request(self, has_safe_method: bool) -> bool {
        match self {
            Self::All => true,
            Self::Unsafe => !has_safe_method,
            Self::None => false,
        }
    }

    /// Whether data on a WebSocket counts.
    #[must_use]
    pub const fn counts_stream(self) -> bool {
        !matches!(self, Self::None)
    }
}

/// Whether an account with these roles may use a route that needs one of `required`.
#[must_use]
pub fn is_permitted(required: &[String], roles: &[String]) -> bool {
    required.is_empty() || required.iter().any(|role| roles.contains(role))
}

impl Route {
    /// Whether the rest of the path is the name of a document, which may contain slashes.
    #[must_use]
    pub fn takes_documents(&self) -> bool {
        self.action == Action::Place && matches!(self.pattern, Pattern::Prefix(_))
    }

    fn has_host(&self, authority: &str) -> bool {
        let own = self.host.as_deref();
        own.is_none_or(|own| origin::host(authority).eq_ignore_ascii_case(own))
    }
}

/// What happens to a request whose cookie names a session that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginTimeout {
    /// 440 for every client.
    Refuse,
    /// It passes without a token.
    Anonymous,
    /// The login page for page navigations, 440 for other clients.
    Login,
}

/// The maximum age of a WebSocket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxAge {
    /// Milliseconds.
    pub ms: u64,
    /// The share of it, `0.0..=1.0`, by which a socket may close earlier, so that sockets that opened together do
    /// not close together.
    pub jitter: f64,
}

impl Eq for MaxAge {}

impl MaxAge {
    /// The age of one WebSocket in milliseconds; `random` is in `0.0..1.0`.
    #[must_use]
    pub fn sample_ms(&self, random: f64) -> u64 {
        let reduction_ms = fraction_of(self.ms, self.jitter * random);
        self.ms.saturating_sub(reduction_ms)
    }
}

/// A share, `0.0..=1.0`, of a time in milliseconds.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "days in milliseconds are exact in f64, and a part is no larger than the whole"
)]
pub fn fraction_of(ms: u64, fraction: f64) -> u64 {
    ((ms as f64) * fraction.clamp(0.0, 1.0)) as u64
}

/// The paths that a route matches, always without the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This path only.
    Exact(String),
    /// This path and everything below it: `/api` matches `/api` and `/api/x`, but not `/apix`.
    Prefix(String),
}

impl Pattern {
    /// The path as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => is_below(path, prefix),
        }
    }
}

/// The first route that matches the host of `authority` and `path` (with or without a query), and its index.
#[must_use]
pub fn find<'a>(routes: &'a [Route], authority: &str, path: &str) -> Option<(usize, &'a Route)> {
    let path = without_query(path);
    let mut routes = routes.iter().enumerate();
    routes.find(|(_, route)| route.pattern.matches(path) && route.has_host(authority))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn routes() -> Vec<Route> {
        let route = |pattern, action| Route {
            host: None,
            pattern,
            action,
            plain_http: false,
            activity: Activity::All,
            bearer: false,
            anonymous: false,
            on_login_timeout: LoginTimeout::Login,
            max_age: None,
            roles: Rc::default(),
        };
        vec![
            route(Pattern::Exact("/app/public".into()), Action::Bypass),
            route(Pattern::Prefix("/app/".into()), Action::Place),
            route(Pattern::Prefix("/api".into()), Action::Authenticate),
            route(Pattern::Exact("/".into()), Action::Bypass),
        ]
    }

    #[test]
    fn the_first_matching_route_decides() {
        let action = |path| find(&routes(), "h", path).map(|(_, route)| route.action);
        assert_eq!(action("/app/public"), Some(Action::Bypass));
        assert_eq!(action("/app/public/x"), Some(Action::Place));
        assert_eq!(action("/app/sales.qvf?x=/api"), Some(Action::Place));
        assert_eq!(action("/app/"), Some(Action::Place));
        assert_eq!(action("/app"), None);
        assert_eq!(action("/api"), Some(Action::Authenticate));
        assert_eq!(action("/api?x"), Some(Action::Authenticate));
        assert_eq!(action("/api/x"), Some(Action::Authenticate));
        assert_eq!(action("/apix"), None);
        assert_eq!(action("/?q"), Some(Action::Bypass));
        assert_eq!(action("//app/x"), None);
        assert_eq!(action("/x"), None);
        assert_eq!(find(&[], "h", "/"), None);
    }

    #[test]
    fn a_route_with_a_host_matches_that_host_alone() {
        let mut routes = routes();
        routes.iter_mut().for_each(|route| route.host = None);
        let mut own = routes[2].clone();
        own.host = Some("lab.example.com".into());
        own.pattern = Pattern::Prefix("/".into());
        routes.insert(0, own);
        let index = |host, path| find(&routes, host, path).map(|(index, _)| index);
        assert_eq!(index("lab.example.com", "/app/x"), Some(0));
        assert_eq!(index("LAB.example.com:8443", "/app/x"), Some(0));
        assert_eq!(index("example.com", "/app/x"), Some(2));
        assert_eq!(index("lab.example.com.evil.net", "/app/x"), Some(2));
        assert_eq!(index("a.lab.example.com", "/x"), None);
    }

    #[test]
    fn activity_depends_on_the_method() {
        let counted = |activity: Activity| {
            let requests = [true, false].map(|safe| activity.counts_request(safe));
            (requests, activity.counts_stream())
        };
        assert_eq!(counted(Activity::All), ([true, true], true));
        assert_eq!(counted(Activity::Unsafe), ([false, true], true));
        assert_eq!(counted(Activity::None), ([false, false], false));
    }

    #[test]
    fn documents_are_below_the_prefix_of_a_place_route() {
        let takes = routes()
            .iter()
            .map(Route::takes_documents)
            .collect::<Vec<_>>();
        assert_eq!(takes, [false, true, false, false]);
    }

    #[test]
    fn a_sampled_age_is_the_maximum_minus_a_jittered_share() {
        let age = MaxAge {
            ms: 1_000,
            jitter: 0.1,
        };
        assert_eq!(
            [0.0, 0.5, 1.0].map(|random| age.sample_ms(random)),
            [1_000, 950, 900]
        );
        assert_eq!(fraction_of(u64::MAX, f64::NAN), 0);
    }

    #[test]
    fn actions_have_one_name_in_json_and_code() {
        for action in Action::ALL {
            let text = format!("\"{}\"", action.as_str());
            assert_eq!(serde_json::from_str::<Action>(&text).unwrap(), *action);
        }
    }
}
