//! What the contexts of one configuration in one worker share. State only; decides nothing.

use crate::call_stream::CallStream;
use crate::control::Gateway;
use crate::metrics::Metrics;
use crate::service_client::ServiceResponse;
use crate::token_cache::TokenCache;
use berth_filter_core::auth::jwt::Keys;
use berth_filter_core::config::Config;
use berth_filter_core::decision::effects::CallError;
use berth_filter_core::decision::pending::{TokenResult, token_result};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// A request that waits for a response on the call stream.
pub(crate) trait ResponseHandler {
    /// The call has ended with this response, or has failed. The request's context is in effect.
    fn on_response(&self, shared: &Shared, response: Option<ServiceResponse>);
}

/// The shared state.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) gateway: Gateway,
    pub(crate) token_cache: TokenCache,
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

    /// Replaces the current keys, and drops the cached tokens: the key of some may be gone.
    pub(crate) fn replace_keys(&self, keys: Keys) {
        if let Ok(mut current) = self.keys.try_borrow_mut() {
            *current = Rc::new(keys);
            self.token_cache.clear();
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
