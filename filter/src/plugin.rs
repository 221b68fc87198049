//! The root context: lives as long as one configuration in one worker. Reads the configuration, runs the ticks, fetches
//! keys, delivers responses of the root context's calls, and creates the contexts of requests.

use crate::abi::{self, streams};
use crate::call_stream::Delivery;
use crate::control::Gateway;
use crate::http_context::RequestContext;
use crate::service_client::read_response;
use crate::shared::{ResponseHandler, Shared};
use crate::waiters;
use berth_filter_core::auth::jwks::{self, UNKNOWN_KEY_GAP_MS};
use berth_filter_core::auth::jwt::Key;
use berth_filter_core::config::Config;
use berth_filter_core::control::{ACTIVE_TICK_MS, IDLE_TICK_MS};
use berth_filter_core::decision::effects::CallError;
use berth_filter_core::retry::RetrySchedule;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::rc::Rc;

/// Maximum bytes of a key set.
const MAX_JWKS_BYTES: usize = 256 * 1024;
/// Maximum milliseconds of a key set fetch.
const JWKS_TIMEOUT_MS: u32 = 5_000;

/// The plugin's root context.
pub(crate) struct Plugin {
    id: u32,
    /// `None` until a valid configuration arrives.
    shared: Option<Rc<Shared>>,
    /// When to fetch the key set, if there is one.
    key_schedule: Option<RetrySchedule>,
    /// The call of the fetch in flight.
    key_fetch: Option<u32>,
    /// The key set of the current keys.
    key_set: Vec<u8>,
}

impl Plugin {
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            id,
            shared: None,
            key_schedule: None,
            key_fetch: None,
            key_set: Vec::new(),
        }
    }
}

impl RootContext for Plugin {
    fn on_configure(&mut self, size: usize) -> bool {
        let Ok(json) = abi::configuration(size) else {
            log::error!("berth: the configuration cannot be read");
            return false;
        };
        let env = |name: &str| std::env::var(name).ok();
        let config = match Config::parse(&json, &env) {
            Ok(config) => config,
            Err(errors) => {
                log::error!("berth: the configuration is invalid: {errors}");
                return false;
            }
        };
        let Some(gateway) = Gateway::new(&config) else {
            log::error!("berth: the host has no randomness");
            return false;
        };
        let seed = gateway.seed();
        self.key_schedule = config
            .jwks
            .as_ref()
            .map(|jwks| jwks::schedule(jwks.refresh_ms).with_jitter(seed));
        let period = if self.key_schedule.is_some() {
            ACTIVE_TICK_MS
        } else {
            IDLE_TICK_MS
        };
        if !gateway.set_period(period) {
            log::error!("berth: the host has no ticks");
            return false;
        }
        self.shared = Some(Rc::new(Shared::new(config, gateway)));
        true
    }

    /// The order of a tick matters: see "Calls that re-enter the module" in [`abi`].
    fn on_tick(&mut self) {
        let Ok(now) = abi::now_ms() else { return };
        let Some(shared) = self.shared.clone() else {
            return;
        };
        let Shared {
            config,
            metrics,
            gateway,
            call_stream,
            ..
        } = &*shared;
        if gateway.reset_due(self.id, metrics, now) {
            return;
        }
        call_stream.open(&config.service, gateway.label(), now);
        self.repeat_and_expire_calls(&shared, now);
        self.fetch_keys(now);
        self.take_over_calls(&shared);
        self.call_for_engines(&shared);
        gateway.send(&config.service, metrics, self.is_without_keys());
        metrics.flush();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(RequestContext::new(id, self.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Plugin {
    /// A poll or a report, a taken-over token call, a repeated call, or a key set.
    fn on_http_call_response(&mut self, call: u32, _: usize, size: usize, _: usize) {
        let Some(shared) = self.shared.clone() else {
            return;
        };
        if let Some(invalidation) = shared.gateway.on_response(call, size, &shared.metrics) {
            shared.token_cache.apply_events(&invalidation);
            let now = shared.gateway.clock();
            shared.engine_cache.apply_events(&invalidation, now);
        } else if let Some((key, flight)) = shared.token_cache.complete_takeover(call) {
            let result = shared.token_result(read_response(size));
            if result
                .as_ref()
                .is_err_and(|r| r.reason.is_callout_failure())
            {
                shared.metrics.callout_failure();
            }
            waiters::complete(&shared, key, flight, &result);
            let _ = streams::set_effective_context(self.id);
        } else if let Some(requester) = shared.call_stream.complete_retry(call) {
            let response = read_response(size);
            shared.call_stream.http_call_answered(response.as_ref());
            let delivery = Delivery {
                requester,
                response,
            };
            self.deliver(&shared, delivery);
        } else if self.key_fetch == Some(call) {
            self.key_fetch = None;
            let keys = self.read_keys(size);
            self.on_keys(keys);
        }
    }

    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            shared.metrics.flush();
        }
        true
    }

    fn on_grpc_stream_message(&mut self, stream: u32, size: usize) {
        let Some(shared) = &self.shared else { return };
        let now = shared.gateway.coarse_now();
        match shared.call_stream.on_message(stream, size, now) {
            Ok(Some(reply)) => match reply.requester {
                Some(requester) => {
                    let response = Some(reply.response);
                    let delivery = Delivery {
                        requester,
                        response,
                    };
                    self.deliver(shared, delivery);
                }
                // The call was cancelled while its response was in flight.
                None => shared.gateway.release_placement(&reply.response),
            },
            Ok(None) => {}
            Err(_) => close_call_stream(shared, stream, true),
        }
    }

    fn on_grpc_stream_close(&mut self, stream: u32, _: u32) {
        if let Some(shared) = &self.shared {
            close_call_stream(shared, stream, false);
        }
    }
}

impl Plugin {
    /// Gives a response to its request. The root context is in effect, before and after.
    fn deliver(&self, shared: &Shared, delivery: Delivery<Rc<dyn ResponseHandler>>) {
        let Delivery {
            requester,
            response,
        } = delivery;
        if streams::set_effective_context(requester.context_id).is_ok() {
            requester.handle.on_response(shared, response);
            let _ = streams::set_effective_context(self.id);
        } else if let Some(response) = &response {
            shared.gateway.release_placement(response);
        }
    }

    /// Repeats the calls of a lost call stream over HTTP, and ends calls that have timed out.
    fn repeat_and_expire_calls(&self, shared: &Shared, now: u64) {
        for failed in shared.call_stream.retry_over_http(&shared.config.service) {
            self.deliver(shared, failed);
        }
        let expired = shared.call_stream.expire(now);
        for delivery in expired.deliveries {
            self.deliver(shared, delivery);
        }
        if let Some(stream) = expired.reset {
            close_call_stream(shared, stream, true);
        }
    }

    /// Repeats token calls whose leader has disconnected.
    fn take_over_calls(&self, shared: &Shared) {
        let failed = shared.token_cache.take_over(&shared.config.service);
        for (key, flight) in failed {
            let result = Err(CallError::Unreachable.into());
            waiters::complete(shared, key, flight, &result);
            let _ = streams::set_effective_context(self.id);
        }
    }

    /// Makes the calls of plain requests that are due.
    fn call_for_engines(&self, shared: &Shared) {
        for (_, request) in shared.engine_cache.take_due() {
            request.on_call_due(shared);
            let _ = streams::set_effective_context(self.id);
        }
    }

    fn fetch_keys(&mut self, now: u64) {
        let (Some(shared), Some(schedule)) = (&self.shared, &mut self.key_schedule) else {
            return;
        };
        if schedule.is_timed_out(now) {
            schedule.failed(now);
        }
        if shared.wants_keys.take() {
            schedule.expedite(UNKNOWN_KEY_GAP_MS);
        }
        if schedule.is_due(now) {
            schedule.started(now);
            self.key_fetch = request_key_set(&shared.config);
            if self.key_fetch.is_none() {
                self.on_keys(Err("the service cannot be called"));
            }
        }
    }

    /// Whether no key set has arrived yet: ticks stay frequent until then.
    fn is_without_keys(&self) -> bool {
        let schedule = self.key_schedule.as_ref();
        schedule.is_some_and(|schedule| !schedule.has_succeeded())
    }

    /// The keys of the response; `None` when the set has not changed.
    fn read_keys(&mut self, size: usize) -> Result<Option<Vec<Key>>, &'static str> {
        match abi::callout_status() {
            Ok(200) if size <= MAX_JWKS_BYTES => {}
            Ok(200) => return Err("the response is too large"),
            _ => return Err("the service does not provide it"),
        }
        let body = abi::callout_body(size).map_err(|_| "the response cannot be read")?;
        if body == self.key_set {
            return Ok(None);
        }
        let keys = jwks::parse(&body)?;
        self.key_set = body;
        Ok(Some(keys))
    }

    fn on_keys(&mut self, keys: Result<Option<Vec<Key>>, &'static str>) {
        let (Some(shared), Some(schedule)) = (&self.shared, &mut self.key_schedule) else {
            return;
        };
        let now = abi::now_ms().unwrap_or_default();
        match keys {
            Ok(keys) => {
                schedule.succeeded(now);
                if let Some(keys) = keys {
                    shared.replace_keys(shared.config.keys.with_fetched(keys));
                }
            }
            Err(error) => {
                schedule.failed(now);
                shared.metrics.jwks_failure();
                log::warn!("berth: the key set could not be fetched: {error}");
            }
        }
    }
}

/// The call stream has ended, or is reset because the service is silent or sends malformed replies.
fn close_call_stream(shared: &Shared, stream: u32, reset: bool) {
    if reset {
        log::warn!(
            "berth: the call stream is reset: the service does not greet or reply in time, or sends a malformed reply"
        );
    }
    let now = shared.gateway.clock();
    if shared.call_stream.close(stream, now) {
        shared.metrics.call_stream_closed();
        shared.gateway.expedite_tick();
    }
}

/// Requests the key set; returns the id of the call.
fn request_key_set(config: &Config) -> Option<u32> {
    let jwks = config.jwks.as_ref()?;
    let headers = vec![
        (":method", "GET"),
        (":path", jwks.path.as_str()),
        (":authority", config.service.authority.as_str()),
    ];
    abi::dispatch_http_call(&config.service.cluster, headers, None, JWKS_TIMEOUT_MS).ok()
}
