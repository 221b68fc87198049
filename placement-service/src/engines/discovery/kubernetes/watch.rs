//! Watches the objects of a kind, and reports the engines in them. After a fault the objects are listed again; the
//! watcher of kube recovers by itself from a closed connection and from 410 Gone. Does not know the kinds.

use super::super::labels::SkippedEngines;
use super::super::{DiscoveredEngine, DiscoveryFault, MAX_ENGINES};
use super::connection::{Connection, RESPONSE_TIMEOUT};
use super::{EngineObjects, Entry};
use crate::core::http_client;
use berth_scheduler::engine::EngineName;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::Resource;
use kube::runtime::watcher::{self, Event};
use std::collections::BTreeMap;
use tokio::time::timeout;

/// The watch of the objects of a kind.
pub(super) struct ObjectWatch<O: EngineObjects> {
    connection: Connection,
    kind: O,
    events: Option<BoxStream<'static, watcher::Result<Event<O::Object>>>>,
    objects: ObjectEntries,
    /// The list while it is being read.
    listing: Option<ObjectEntries>,
    skipped: SkippedEngines,
}

impl<O: EngineObjects> ObjectWatch<O> {
    pub(super) fn new(connection: Connection, kind: O) -> Self {
        Self {
            connection,
            kind,
            events: None,
            objects: ObjectEntries::default(),
            listing: None,
            skipped: SkippedEngines::default(),
        }
    }

    /// Waits for a change, then returns all engines.
    pub(super) async fn next(&mut self) -> Result<Vec<DiscoveredEngine>, DiscoveryFault> {
        if self.events.is_none() {
            let objects = self.connection.objects().await?;
            let config = watcher::Config::default().labels(&self.kind.selector());
            self.events = Some(watcher::watcher(objects, config).boxed());
            self.listing = Some(ObjectEntries::default());
        }
        loop {
            match self.next_event().await {
                Ok(event) => {
                    if self.apply(event) {
                        return Ok(self.engines());
                    }
                }
                Err(fault) => {
                    self.events = None;
                    self.listing = None;
                    return Err(fault);
                }
            }
        }
    }

    async fn next_event(&mut self) -> Result<Event<O::Object>, DiscoveryFault> {
        let listing = self.listing.is_some();
        let Some(events) = &mut self.events else {
            return Err(DiscoveryFault::new("no watch"));
        };
        let event = if listing {
            let timeout_message = "the Kubernetes API does not answer";
            let event = timeout(RESPONSE_TIMEOUT, events.next()).await;
            event.map_err(|_| DiscoveryFault::new(timeout_message))?
        } else {
            events.next().await
        };
        match event {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(DiscoveryFault::new(http_client::error_chain(&e))),
            None => Err(DiscoveryFault::new("the watch has ended")),
        }
    }

    /// Applies an event. Returns true when the list is complete and may have changed.
    fn apply(&mut self, event: Event<O::Object>) -> bool {
        match event {
            Event::Init => {
                self.listing = Some(ObjectEntries::default());
                false
            }
            Event::InitApply(object) => {
                let entries = self.kind.entries(&object);
                if let Some(listing) = &mut self.listing {
                    listing.set(object_key(&object), entries);
                }
                false
            }
            Event::InitDone => {
                self.objects = self.listing.take().unwrap_or_default();
                true
            }
            Event::Apply(object) => {
                let entries = self.kind.entries(&object);
                self.objects.set(object_key(&object), entries)
            }
            Event::Delete(object) => self.objects.remove(&object_key(&object)),
        }
    }

    /// The engines of a complete list. Logs the entries that are not usable.
    fn engines(&mut self) -> Vec<DiscoveredEngine> {
        let mut engines: BTreeMap<&EngineName, &DiscoveredEngine> = BTreeMap::new();
        let mut skipped = Vec::new();
        for entry in self.objects.by_key.values().flatten() {
            match entry {
                Entry::Engine(engine) => {
                    let listed = engines.entry(&engine.name).or_insert(engine);
                    if rank(engine) < rank(listed) {
                        *listed = engine;
                    }
                }
                Entry::Skipped(why) => skipped.push(why.clone()),
            }
        }
        let engines = engines.into_values().cloned().collect();
        self.skipped.update(skipped);
        engines
    }
}

/// The order of entries with one name, of which the first is the engine: EndpointSlices may list a pod twice while they
/// are rewritten, and list a pod with an IPv4 and an IPv6 address once for each.
fn rank(engine: &DiscoveredEngine) -> impl Ord + use<> {
    (engine.desired_state, engine.endpoint.api)
}

/// The key of an object: its UID, because an object that is created again with the same name is another one.
fn object_key(object: &impl Resource) -> String {
    let meta = object.meta();
    meta.uid.clone().unwrap_or_else(|| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", text(&meta.namespace), text(&meta.name))
    })
}

/// The entries of each object, together at most [`MAX_ENGINES`]. Further ones are dropped until the objects are listed
/// again.
#[derive(Default)]
struct ObjectEntries {
    by_key: BTreeMap<String, Vec<Entry>>,
    count: usize,
}

impl ObjectEntries {
    /// Replaces the entries of an object. Returns true if they have changed.
    fn set(&mut self, key: String, mut entries: Vec<Entry>) -> bool {
        let current = self.by_key.get(&key).map_or(&[][..], Vec::as_slice);
        let others = self.count - current.len();
        entries.truncate(MAX_ENGINES.saturating_sub(others));
        if *current == *entries {
            return false;
        }
        if entries.is_empty() {
            return self.remove(&key);
        }
        self.count = others + entries.len();
        self.by_key.insert(key, entries);
        true
    }

    /// Removes an object. Returns true if it had entries.
    fn remove(&mut self, key: &str) -> bool {
        let removed = self.by_key.remove(key);
        self.count -= removed.as_ref().map_or(0, Vec::len);
        removed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skipped(count: usize) -> Vec<Entry> {
        vec![Entry::Skipped("no port".to_owned()); count]
    }

    #[test]
    fn the_number_of_entries_is_limited() {
        let mut objects = ObjectEntries::default();
        assert!(objects.set("a".into(), skipped(MAX_ENGINES - 1)));
        assert!(
            objects.set("b".into(), skipped(2)),
            "the first of two has room"
        );
        assert_eq!(objects.count, MAX_ENGINES);
        assert!(!objects.set("c".into(), skipped(1)), "no room");
        assert!(!objects.set("b".into(), skipped(2)), "as before");
        assert!(objects.set("a".into(), vec![]));
        assert!(objects.set("c".into(), skipped(3)));
        assert_eq!((objects.count, objects.by_key.len()), (4, 2));
        assert!(objects.remove("b") && objects.remove("c") && !objects.remove("c"));
        assert_eq!(objects.count, 0);
    }
}
