//! Lives as long as one configuration in one worker: reads it, keeps the keys fresh, and makes the
//! contexts of requests.

use super::answers::Answers;
use super::calls::{self, LogLevel};
use super::gateway::Gateway;
use super::lane::Lane;
use super::metrics::Metrics;
use super::stream::Stream;
use crate::config::Config;
use crate::gateway::{BUSY_MS, IDLE_MS};
use crate::jwks::{self, WANTED_EVERY_MS};
use crate::schedule::Schedule;
use crate::token::{Key, Keys};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Bytes of a key set at the most.
const MAX_JWKS_BYTES: usize = 256 * 1024;
/// Milliseconds that a fetch of the key set may take.
const JWKS_TIMEOUT_MS: u32 = 5_000;

/// What the requests of one configuration share.
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    pub(super) gateway: Gateway,
    pub(super) answers: Answers,
    pub(super) lane: Lane,
    /// A token named a key that is not known.
    pub(super) wants_keys: Cell<bool>,
    keys: RefCell<Rc<Keys>>,
}

impl Shared {
    /// The keys of the moment.
    pub(super) fn keys(&self) -> Option<Rc<Keys>> {
        self.keys.try_borrow().ok().map(|keys| Rc::clone(&keys))
    }
}

/// The plugin's root context.
pub(super) struct Root {
    id: u32,
    shared: Option<Rc<Shared>>,
    schedule: Option<Schedule>,
    fetch: Option<u32>,
    /// What the keys of the moment were read from.
    key_set: Vec<u8>,
}

impl Root {
    pub(super) const fn new(id: u32) -> Self {
        Self {
            id,
            shared: None,
            schedule: None,
            fetch: None,
            key_set: Vec::new(),
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let Ok(json) = calls::configuration(size) else {
            calls::log(LogLevel::Error, "berth: the configuration cannot be read");
            return false;
        };
        let env = |name: &str| std::env::var(name).ok();
        let config = match Config::parse(&json, &env) {
            Ok(config) => config,
            Err(faults) => {
                let text = format!("berth: the configuration is wrong: {faults}");
                calls::log(LogLevel::Error, &text);
                return false;
            }
        };
        let Some(gateway) = Gateway::new(&config) else {
            calls::log(LogLevel::Error, "berth: the host gives no randomness");
            return false;
        };
        let seed = gateway.seed();
        self.schedule = config
            .jwks
            .as_ref()
            .map(|jwks| jwks::schedule(jwks.refresh_ms).with_jitter(seed));
        let pace = if self.schedule.is_some() {
            BUSY_MS
        } else {
            IDLE_MS
        };
        if !gateway.set_period(pace) {
            calls::log(LogLevel::Error, "berth: the host gives no ticks");
            return false;
        }
        self.shared = Some(Rc::new(Shared {
            keys: RefCell::new(Rc::new(config.keys.clone())),
            answers: Answers::new(config.cache),
            lane: Lane::new(self.id, &config.service, seed),
            metrics: Metrics::new(&config.routes),
            config,
            gateway,
            wants_keys: Cell::new(false),
        }));
        true
    }

    fn on_tick(&mut self) {
        let Ok(now) = calls::now_ms() else { return };
        let Some(shared) = self.shared.clone() else {
            return;
        };
        let Shared {
            config,
            metrics,
            gateway,
            lane,
            answers,
            ..
        } = &*shared;
        // The order matters: see "Calls that come back into the module" of `calls`.
        if gateway.reset_due(self.id, metrics, now) {
            return;
        }
        lane.open(&shared, now);
        lane.tick(&shared, now);
        self.fetch_keys(now);
        answers.adopt(self.id, &shared);
        gateway.send(&config.service, metrics, self.is_without_keys());
        metrics.flush();
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream::new(id, self.shared.clone())))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, size: usize, _: usize) {
        if let Some(shared) = &self.shared
            && let Some(told) = shared.gateway.on_reply(token, size, &shared.metrics)
        {
            shared.answers.told(&told);
            return;
        }
        if let Some(shared) = &self.shared
            && shared.answers.adopted_landed(token, size, shared)
        {
            let _ = calls::streams::set_effective_context(self.id);
            return;
        }
        if let Some(shared) = &self.shared
            && shared.lane.on_reply(token, size, shared)
        {
            return;
        }
        if self.fetch != Some(token) {
            return;
        }
        self.fetch = None;
        let keys = match calls::callout_status() {
            Ok(200) if size <= MAX_JWKS_BYTES => calls::callout_body(size)
                .map_err(|_| "the answer cannot be read")
                .and_then(|body| self.renewed(body)),
            Ok(200) => Err("the answer is too large"),
            _ => Err("the service does not give it"),
        };
        self.fetched(keys);
    }

    fn on_done(&mut self) -> bool {
        if let Some(shared) = &self.shared {
            shared.metrics.flush();
        }
        true
    }

    fn on_grpc_stream_message(&mut self, stream: u32, size: usize) {
        if let Some(shared) = &self.shared {
            shared.lane.heard(stream, size, shared);
        }
    }

    fn on_grpc_stream_close(&mut self, stream: u32, _: u32) {
        if let Some(shared) = &self.shared {
            shared.lane.closed(stream, shared);
        }
    }
}

impl Root {
    fn fetch_keys(&mut self, now: u64) {
        let (Some(shared), Some(schedule)) = (&self.shared, &mut self.schedule) else {
            return;
        };
        if schedule.is_lost(now) {
            schedule.failed(now);
        }
        if shared.wants_keys.take() {
            schedule.hurry(WANTED_EVERY_MS);
        }
        if schedule.is_due(now) {
            schedule.started(now);
            self.fetch = fetch(&shared.config);
            if self.fetch.is_none() {
                self.fetched(Err("the service cannot be called"));
            }
        }
    }

    /// Whether the key set has not come yet: its fetch is looked after more often.
    fn is_without_keys(&self) -> bool {
        self.schedule.as_ref().is_some_and(|s| !s.has_succeeded())
    }

    /// The keys of a set; `None` when it is the one that is known.
    fn renewed(&mut self, set: Vec<u8>) -> Result<Option<Vec<Key>>, &'static str> {
        if set == self.key_set {
            return Ok(None);
        }
        let keys = jwks::parse(&set)?;
        self.key_set = set;
        Ok(Some(keys))
    }

    fn fetched(&mut self, keys: Result<Option<Vec<Key>>, &'static str>) {
        let (Some(shared), Some(schedule)) = (&self.shared, &mut self.schedule) else {
            return;
        };
        let now = calls::now_ms().unwrap_or_default();
        match keys {
            Ok(keys) => {
                schedule.succeeded(now);
                if let (Some(keys), Ok(mut current)) = (keys, shared.keys.try_borrow_mut()) {
                    *current = Rc::new(shared.config.keys.with_fetched(keys));
                    shared.answers.clear();
                }
            }
            Err(fault) => {
                schedule.failed(now);
                shared.metrics.jwks_failure();
                let text = format!("berth: the key set could not be fetched: {fault}");
                calls::log(LogLevel::Warn, &text);
            }
        }
    }
}

/// Asks the placement service for its key set.
fn fetch(config: &Config) -> Option<u32> {
    let jwks = config.jwks.as_ref()?;
    let headers = vec![
        (":method", "GET"),
        (":path", jwks.path.as_str()),
        (":authority", config.service.authority.as_str()),
    ];
    calls::call(&config.service.cluster, headers, None, JWKS_TIMEOUT_MS).ok()
}
