//! By what a plain request looks up its engine. Plain values; decides nothing.

use crate::auth::token_cache::CacheKey;
use std::fmt;

/// What a request is looked up by.
#[derive(Clone, PartialEq, Eq)]
pub struct EngineLookup {
    /// The credential.
    pub credential: CacheKey,
    /// The authority, in lower case and without port.
    pub host: String,
    /// The path with its query, as the client sent it.
    pub path: String,
    /// Requests with the same may wait for one call; `None`: each makes a call of its own.
    pub flight: Option<CacheKey>,
    /// Whether the request counts as activity of its session and its key.
    pub counts_activity: bool,
}

/// Without the query, which may have secrets of the application.
impl fmt::Debug for EngineLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineLookup")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
