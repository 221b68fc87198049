//! What the contexts of one configuration in one worker share. State only; decides nothing.

use crate::call_stream::CallStream;
use crate::control::Gateway;
use crate::engine_cache::EngineCache;
use crate::metrics::Metrics;
use crate::service_client::ServiceResponse;
use crate::token_cache::TokenCache;
use berth_filter_core::affinity::EngineRoute;
use berth_filter_core::auth::jwt::Keys;
use berth_filter_core::config::Config;
use berth_filter_core::decision::effects::CallError;
use berth_filter_core::decision::pending::{TokenResult, token_result};
use berth_filter_core::decision::rejection::Rejection;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// What requests that waited for the call of another one learn from its response.
pub(crate) struct EngineResponse {
    /// The path of the request that made the call, without its query.
    pub(crate) path: String,
    /// The engine of its key.
    pub(crate) route: Option<Rc<EngineRoute>>,
    /// Why it was rejected.
    pub(crate) rejection: Option<Rejection>,
}

/// A request that waits for a response.
pub(crate) trait ResponseHandler {
    /// The call has ended with this response, or has failed. The request's context is in effect.
    fn on_response(&self, shared: &Shared, response: Option<ServiceResponse>);

    /// The call of another request has ended, for which this one waited. The request's context is in effect.
    fn on_shared_engine(&self, shared: &Shared, answer: &EngineResponse);

    /// The tick makes the request's call. The root context is in effect; it may be another one afterwards.
    fn on_call_due(&self, shared: &Shared);
}

/// The shared state.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) gateway: Gateway,
    pub(crate) token_cache: TokenCache,
    pub(crate) engine_cache: EngineCache<Rc<dyn ResponseHandler>>,
    pub(crate) call_stream: CallStream<Rc<dyn ResponseHandler>>,
    /// A token named an unknown key: the key set is fetched soon.
    pub(crate) wants_keys: Cell<bool>,
    keys: RefCell<Rc<Keys>>,
}

impl Shared {
    /// The state of a new configuration.
    pub(crate) fn new(config: Config, gateway: Gateway) -> Self {
        Self {
            keys: RefCell::new(Rc::new(config.keys.clone())),
            token_cache: TokenCache::new(config.cache),
            engine_cache: EngineCache::new(config.engine_cache),
            call_stream: CallStream::new(&config.service, gateway.seed()),
            metrics: Metrics::new(&config.routes),
            config,
            gateway,
            wants_keys: Cell::new(false),
        }
    }

    /// The current keys.
    pub(crate) fn keys(&self) -> Option<Rc<Keys>> {
        self.keys.try_borrow().ok().map(|keys| Rc::clone(&keys))
    }

    /// Replaces the current keys, and drops the cached tokens and engines: the key of some may be gone.
    pub(crate) fn replace_keys(&self, keys: Keys) {
        if let Ok(mut current) = self.keys.try_borrow_mut() {
            *current = Rc::new(keys);
            self.token_cache.clear();
            self.engine_cache.clear();
        }
    }

    /// The result of a token call.
    pub(crate) fn token_result(&self, response: Option<ServiceResponse>) -> TokenResult {
        let has_ended = |session_ref: &str| self.gateway.has_ended(session_ref);
        match response.zip(self.keys()) {
            Some((ServiceResponse { status, body }, keys)) => {
                token_result(&keys, &has_ended, status, &body)
            }
            None => Err(CallError::Unreachable.into()),
        }
    }
}
