//! The streams of the registry: each is counted by its gateway, its engine and its session, and leaves all three
//! together. Does not know reports.

use super::{Registry, Stream, UNKNOWN};
use berth_api::OpenStream;
use berth_scheduler::engine::EngineName;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

impl Registry {
    pub(super) fn open(
        &mut self,
        gateway: &Arc<str>,
        open: &OpenStream,
        now_ms: u64,
        now: Instant,
    ) {
        let engine = EngineName::from(open.engine.as_str());
        let engine = (Arc::from(open.pool.as_str()), engine);
        let age = Duration::from_secs((now_ms / 1000).saturating_sub(open.opened_at));
        let since = now.checked_sub(age).unwrap_or(now);
        if let Some(known) = self.streams.get(open.stream.as_str()) {
            if known.gateway == *gateway
                && known.engine == engine
                && *known.session == *open.session_ref
            {
                if let Some((name, _)) = self.streams.get_key_value(open.stream.as_str()) {
                    let name = Arc::clone(name);
                    // Not in the accounting if another replica had the stream meanwhile.
                    let key = open.key.as_deref();
                    known
                        .accounting
                        .opened_with_key(&name, &open.session_ref, key, since);
                    self.add_to_full_list(gateway, name);
                }
                return;
            }
            // A stream counts once, as in the latest report of it.
            self.remove(&open.stream, UNKNOWN, now);
        }
        let name: Arc<str> = open.stream.as_str().into();
        let session = self
            .sessions
            .opened(&open.session_ref, Arc::clone(&name), now_ms);
        *self.engines.entry(engine.clone()).or_default() += 1;
        let accounting = self
            .accounting_registry
            .find_by_stream(&name, &engine.0, &engine.1);
        accounting.opened_with_key(&name, &open.session_ref, open.key.as_deref(), since);
        let key = open.key.as_deref().map(|key| self.count_key(key));
        if let Some(gateway) = self.gateways.get_mut(gateway) {
            gateway.streams.insert(Arc::clone(&name));
        }
        self.add_to_full_list(gateway, Arc::clone(&name));
        self.streams.insert(
            name,
            Stream {
                gateway: Arc::clone(gateway),
                session,
                engine,
                key,
                accounting,
                opened_at: open.opened_at,
            },
        );
    }

    /// Counts one more stream of a key. Returns the key's name, shared.
    fn count_key(&mut self, key: &str) -> Arc<str> {
        let known = self.keys.get_key_value(key);
        let name = known.map_or_else(|| Arc::from(key), |(name, _)| Arc::clone(name));
        *self.keys.entry(Arc::clone(&name)).or_default() += 1;
        name
    }

    /// The keys that have streams.
    pub(in crate::gateways) fn open_keys(&self) -> Vec<Arc<str>> {
        self.keys.keys().cloned().collect()
    }

    /// Adds a stream to the list that is arriving: whatever is open meanwhile is not gone at its end.
    fn add_to_full_list(&mut self, gateway: &str, stream: Arc<str>) {
        let gateway = self.gateways.get_mut(gateway);
        if let Some(listed) = gateway.and_then(|gateway| gateway.listed.as_mut()) {
            listed.insert(stream);
        }
    }

    /// Whether the accounting had it. `None` if it was not open on this gateway.
    pub(super) fn close(
        &mut self,
        gateway: &Arc<str>,
        stream: &str,
        lasted: Duration,
        now: Instant,
    ) -> Option<bool> {
        let known = self.streams.get(stream);
        let open = known.is_some_and(|known| known.gateway == *gateway);
        open.then(|| self.remove(stream, lasted, now))
    }

    /// Ends a full list: removes the gateway's streams that are not in it, and returns how many.
    pub(super) fn complete_full_list(&mut self, gateway: &Arc<str>, now: Instant) -> usize {
        let Some(gateway) = self.gateways.get_mut(gateway) else {
            return 0;
        };
        let Some(listed) = gateway.listed.take() else {
            return 0;
        };
        for stream in &gateway.streams {
            if let Some(stream) = self.streams.get(stream) {
                self.sessions.schedule_check(&stream.session, 0);
            }
        }
        let gone: Vec<_> = gateway.streams.difference(&listed).cloned().collect();
        for stream in &gone {
            self.remove(stream, UNKNOWN, now);
        }
        gone.len()
    }

    /// Whether the accounting had it. The stream was open for at least `lasted`.
    pub(super) fn remove(&mut self, name: &str, lasted: Duration, now: Instant) -> bool {
        let Some(stream) = self.streams.remove(name) else {
            return false;
        };
        self.sessions.closed(&stream.session, name);
        if let Some(gateway) = self.gateways.get_mut(&stream.gateway) {
            gateway.streams.remove(name);
            if let Some(listed) = &mut gateway.listed {
                listed.remove(name);
            }
        }
        if let Some(streams) = self.engines.get_mut(&stream.engine) {
            *streams -= 1;
            if *streams == 0 {
                self.engines.remove(&stream.engine);
            }
        }
        if let Some(key) = &stream.key
            && let Some(streams) = self.keys.get_mut(key)
        {
            *streams -= 1;
            if *streams == 0 {
                self.keys.remove(key);
            }
        }
        stream.accounting.closed(name, lasted, now)
    }
}
