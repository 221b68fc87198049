//! What happens to a path: `place`, `authenticate` or `bypass`, by the first route that takes it, and who
//! besides a login session is let in there. Knows paths only: no method, no header.

use serde::Deserialize;

/// What the filter does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A WebSocket gets an engine and the JWT for it.
    Place,
    /// The request gets the JWT; Envoy's own route says where it goes.
    Authenticate,
    /// The trust headers are taken off, nothing is added.
    Bypass,
}

impl Action {
    /// Every action.
    pub const ALL: &[Self] = &[Self::Place, Self::Authenticate, Self::Bypass];

    /// The constant, as in the configuration and in metrics.
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
    /// The paths it takes.
    pub pattern: Pattern,
    /// What happens to them.
    pub action: Action,
    /// A program may bring a JWT of its own along instead of a login cookie (S28).
    pub bearer: bool,
    /// Whoever has no session goes on as nobody, without a token (S18).
    pub anonymous: bool,
    /// How old its WebSockets may become.
    pub max_age: Option<MaxAge>,
}

/// How old a WebSocket may become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MaxAge {
    /// Milliseconds.
    pub ms: u64,
    /// Up to which share of it, `0.0..=1.0`, it may be less: sockets that opened together do not close together.
    pub jitter: f64,
}

impl Eq for MaxAge {}

impl MaxAge {
    /// The age of one WebSocket in milliseconds; `random` is one of `0.0..1.0`.
    #[must_use]
    pub fn of(&self, random: f64) -> u64 {
        self.ms.saturating_sub(part(self.ms, self.jitter * random))
    }
}

/// A share, `0.0..=1.0`, of some milliseconds.
#[must_use]
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "days in milliseconds are exact in f64, and a part is no larger than the whole"
)]
pub fn part(of_ms: u64, share: f64) -> u64 {
    ((of_ms as f64) * share.clamp(0.0, 1.0)) as u64
}

/// The paths that a route takes, always without the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// This path and no other.
    Exact(String),
    /// This path and everything below it: `/api` takes `/api` and `/api/x`, but not `/apix`.
    Below(String),
}

impl Pattern {
    /// The path, as the configuration has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Below(path) => path,
        }
    }

    fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Below(prefix) => is_below(path, prefix),
        }
    }
}

/// The first route that takes `path` (with or without a query), and its place.
#[must_use]
pub fn find<'a>(routes: &'a [Route], path: &str) -> Option<(usize, &'a Route)> {
    let path = without_query(path);
    let mut routes = routes.iter().enumerate();
    routes.find(|(_, route)| route.pattern.takes(path))
}

/// The part of a path before its query.
#[must_use]
pub fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Whether `path` (without query) is `prefix` or lies below it, segment by segment.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// Whether a path has a segment `.` or `..`, be its dots or its ends percent-encoded, or something behind a `;`
/// in it. Envoy, or what is behind it, may resolve those; a filter that matched what it was not told of could be
/// walked around.
#[must_use]
pub fn has_dot_segment(path: &str) -> bool {
    // How many dots the segment consists of so far; `None` when there is anything else in it.
    let mut dots = Some(0_usize);
    let mut rest = without_query(path).as_bytes();
    let mut parameters = false;
    while let Some((byte, after)) = decoded(rest) {
        rest = after;
        match byte {
            b'/' | b'\\' => {
                if matches!(dots, Some(1 | 2)) {
                    return true;
                }
                (dots, parameters) = (Some(0), false);
            }
            _ if parameters => {}
            b';' => parameters = true,
            b'.' => dots = dots.map(|dots| dots.saturating_add(1)),
            _ => dots = None,
        }
    }
    matches!(dots, Some(1 | 2))
}

/// The first byte of a path, percent-decoded, and what comes after it.
fn decoded(path: &[u8]) -> Option<(u8, &[u8])> {
    let hex = |digit: u8| char::from(digit).to_digit(16);
    if let [b'%', high, low, rest @ ..] = path
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        && let Ok(byte) = u8::try_from(high * 16 + low)
    {
        return Some((byte, rest));
    }
    path.split_first().map(|(byte, rest)| (*byte, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_family = "wasm")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn routes() -> Vec<Route> {
        let route = |pattern, action| Route {
            pattern,
            action,
            bearer: false,
            anonymous: false,
            max_age: None,
        };
        vec![
            route(Pattern::Exact("/app/public".into()), Action::Bypass),
            route(Pattern::Below("/app/".into()), Action::Place),
            route(Pattern::Below("/api".into()), Action::Authenticate),
            route(Pattern::Exact("/".into()), Action::Bypass),
        ]
    }

    #[test]
    fn the_first_route_that_takes_the_path_decides() {
        let of = |path| find(&routes(), path).map(|(_, route)| route.action);
        assert_eq!(of("/app/public"), Some(Action::Bypass));
        assert_eq!(of("/app/public/x"), Some(Action::Place));
        assert_eq!(of("/app/sales.qvf?x=/api"), Some(Action::Place));
        assert_eq!(of("/app/"), Some(Action::Place));
        assert_eq!(of("/app"), None);
        assert_eq!(of("/api"), Some(Action::Authenticate));
        assert_eq!(of("/api?x"), Some(Action::Authenticate));
        assert_eq!(of("/api/x"), Some(Action::Authenticate));
        assert_eq!(of("/apix"), None);
        assert_eq!(of("/?q"), Some(Action::Bypass));
        assert_eq!(of("//app/x"), None);
        assert_eq!(of("/x"), None);
        assert_eq!(find(&[], "/"), None);
    }

    #[test]
    fn dot_segments_are_seen_in_every_spelling() {
        for path in [
            "/a/../b",
            "/..",
            "/a/.",
            "/%2e%2E/b",
            "/.%2e/b",
            "/a\\..\\b",
            "/a/..?q",
            "/a%2f..%2Fb",
            "/a%2F%2e%2e",
            "/a%5c..%5Cb",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/..%3bx/b",
            "/a/..;x",
        ] {
            assert!(has_dot_segment(path), "{path}");
        }
        for path in [
            "/a..b",
            "/...",
            "/.well-known/jwks.json",
            "/a?x=/../",
            "/%2ea",
            "/",
            "/a;..",
            "/a;x=1/b",
            "/a;x/;..",
            "/%2f%5c;/%2",
            "/a%2fb..%2Fc",
            "/%252e%252e/b",
            "/..%zz",
        ] {
            assert!(!has_dot_segment(path), "{path}");
        }
    }

    #[test]
    fn an_age_is_the_greatest_less_a_share() {
        let age = MaxAge {
            ms: 1_000,
            jitter: 0.1,
        };
        assert_eq!(
            [0.0, 0.5, 1.0].map(|random| age.of(random)),
            [1_000, 950, 900]
        );
        assert_eq!(part(u64::MAX, f64::NAN), 0);
    }

    #[test]
    fn actions_have_one_name() {
        for action in Action::ALL {
            let text = format!("\"{}\"", action.as_str());
            assert_eq!(serde_json::from_str::<Action>(&text).unwrap(), *action);
        }
    }
}
