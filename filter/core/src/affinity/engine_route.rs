//! How the requests of one scope reach their engine. Decides whether a request is in the scope and which path it gets.

use crate::request::path::{is_below, without_query};
use berth_api::AffinityScope;
use std::cmp::Ordering;
use std::rc::Rc;

/// An engine, and the requests that go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineRoute {
    /// The opaque name of the key.
    pub key: Rc<str>,
    /// The epoch of the key.
    pub epoch: u64,
    /// When the service looked the key up, in Unix milliseconds of its clock.
    pub as_of: u64,
    /// The requests that have this key.
    pub scope: AffinityScope,
    /// Replaces the scope's prefix in the path; `None`: the path stays.
    pub rewrite: Option<String>,
    /// The session in logs, reports and events.
    pub session_ref: Rc<str>,
    /// Unix seconds: the absolute expiry of the session.
    pub session_expires_at: u64,
    /// The pool of the engine.
    pub pool: String,
    /// The engine's name.
    pub engine: String,
    /// Headers of requests to the engine, by which Envoy finds it and by which it knows the client.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl EngineRoute {
    /// Whether a request is in the scope. `host` is its authority in lower case, without port.
    #[must_use]
    pub fn covers(&self, host: &str, path: &str) -> bool {
        let path = without_query(path);
        let scope = &self.scope;
        let is_host = scope.host.as_ref().is_none_or(|own| own == host);
        is_host
            && if scope.exact {
                path == scope.prefix
            } else {
                is_below(path, &scope.prefix)
            }
    }

    /// The path of a request to the engine; `path` is one that is covered, with its query.
    #[must_use]
    pub fn rewritten(&self, path: &str) -> String {
        let rest = path.strip_prefix(self.scope.prefix.as_str());
        match (&self.rewrite, rest) {
            (Some(prefix), Some(rest)) => format!("{prefix}{rest}"),
            _ => path.to_owned(),
        }
    }

    /// `Greater`: this one decides, if both cover a request. The longer prefix is the better one, one path alone
    /// better than all below it, and a host better than any.
    pub(super) fn compare_scope(&self, other: &Self) -> Ordering {
        let rank = |route: &Self| {
            let scope = &route.scope;
            (scope.prefix.len(), scope.exact, scope.host.is_some())
        };
        rank(self).cmp(&rank(other))
    }

    /// Bytes of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| name.len().saturating_add(value.len()));
        let host = self.scope.host.as_ref().map_or(0, String::len);
        let rewrite = self.rewrite.as_ref().map_or(0, String::len);
        let texts = [
            &*self.key,
            &self.scope.prefix,
            &self.session_ref,
            &self.pool,
            &self.engine,
        ];
        let texts = texts.map(str::len);
        let lengths = texts.into_iter().chain([host, rewrite]).chain(headers);
        lengths.fold(0, usize::saturating_add)
    }
}
