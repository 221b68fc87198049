//! Which engine session a tab, or a whole login session, has on which engine: so that it comes back there.
//! Bounded; in the memory of this process alone, so that after a restart everybody is placed anew. Whether
//! the session still lives, the engine is asked.

use super::PlaceRequest;
use crate::config::Sharing;
use crate::engines::drivers::Prepared;
use crate::engines::drivers::opening::Opening;
use crate::placement::routes::Target;
use berth_scheduler::engine::{Engine, EngineName};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// Attachments remembered, at some 400 bytes each; the least used go first.
const ATTACHMENTS: u64 = 200_000;

/// What comes back to the same engine session: a hash of who, what and which tab, so that all are of one
/// size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// `None`: this one has an engine session for itself, every time.
    pub(super) fn of(
        target: &Target,
        request: &PlaceRequest<'_>,
        sharing: Sharing,
    ) -> Option<Self> {
        // A session app is a new one each time, whoever shares.
        let shared = sharing == Sharing::PerDocument && target.opening != Opening::SessionApp;
        let tab = match request.tab {
            _ if shared => "",
            tab => tab.filter(|tab| !tab.is_empty())?,
        };
        let path = request.path.split('?').next().unwrap_or_default();
        let (kind, what) = match &target.opening {
            Opening::Nothing => ("path", path),
            Opening::Document(name) => ("document", name.as_str()),
            Opening::SessionApp => ("session-app", path),
        };
        let mut hash = Sha256::new();
        hash.update(target.pool.to_be_bytes());
        for part in [request.session.session_ref.as_str(), kind, what, tab] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Some(Self(hash.finalize().into()))
    }
}

/// An engine session that was given to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) engine: EngineName,
    /// Another engine of the same name is not the same.
    pub(super) address: SocketAddr,
    /// What the driver knows it by.
    pub(super) headers: BTreeMap<String, String>,
}

impl Attachment {
    pub(super) fn new(engine: &Engine, prepared: &Prepared) -> Self {
        Self {
            engine: engine.name.clone(),
            address: engine.endpoint.api,
            headers: prepared.set_headers.clone(),
        }
    }
}

/// One attachment. Locked while it is looked for or made, so that two sockets that open at once do not
/// make two.
pub(super) type Slot = Arc<Mutex<Option<Attachment>>>;

/// All of them.
#[derive(Debug)]
pub(super) struct Attachments(Cache<Key, Slot>);

impl Attachments {
    /// An attachment is of no use after its login session, which lives for `longest` at the most.
    pub(super) fn new(longest: Duration) -> Self {
        Self(
            Cache::builder()
                .max_capacity(ATTACHMENTS)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(longest)
                .build(),
        )
    }

    /// What is known under this key, or the place for it.
    pub(super) fn slot(&self, key: Key) -> Slot {
        self.0.get_with(key, Arc::default)
    }

    /// What is known, unless it is just being looked for.
    pub(super) fn peek(&self, key: Key) -> Option<Attachment> {
        self.0.get(&key)?.try_lock().ok()?.clone()
    }

    /// Something came of it, although who had the slot before may have forgotten it.
    pub(super) fn keep(&self, key: Key, slot: &Slot) {
        self.0.insert(key, Arc::clone(slot));
    }

    /// Nothing came of it.
    pub(super) fn forget(&self, key: Key) {
        self.0.invalidate(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::LiveSession;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(
        session: &LiveSession,
        document: &str,
        tab: Option<&str>,
        sharing: Sharing,
    ) -> Option<Key> {
        let target = Target {
            pool: 0,
            opening: Opening::Document(document.to_owned()),
        };
        let request = PlaceRequest {
            session,
            token: "t",
            path: "/app/x?y",
            tab,
        };
        Key::of(&target, &request, sharing)
    }

    fn session(name: &str) -> LiveSession {
        LiveSession {
            session_ref: name.to_owned(),
            ..LiveSession::default()
        }
    }

    #[test]
    fn what_is_kept_is_found_although_it_was_forgotten_meanwhile() {
        let all = Attachments::new(Duration::from_secs(60));
        let key = key(&session("s"), "d", Some("t"), Sharing::PerConnection).unwrap();
        let waiting = all.slot(key);
        all.forget(key);
        all.keep(key, &waiting);
        assert!(Arc::ptr_eq(&all.slot(key), &waiting));
    }

    #[test]
    fn without_a_tabs_name_nothing_comes_back_unless_it_is_shared() {
        let of = |tab, sharing| key(&session("s"), "d", tab, sharing);
        assert_eq!(of(None, Sharing::PerConnection), None);
        assert_eq!(of(Some(""), Sharing::PerConnection), None);
        let shared = of(None, Sharing::PerDocument);
        assert!(shared.is_some());
        assert_eq!(of(Some("t"), Sharing::PerDocument), shared);
        assert_ne!(of(Some("t"), Sharing::PerConnection), shared);
    }

    proptest! {
        /// Who differs in anything has another engine session; the parts do not run into one another.
        #[test]
        fn a_key_is_of_one_session_document_and_tab(
            all in prop::collection::vec(("[ab]{0,3}", "[ab]{0,3}", "[ab]{1,3}"), 2..40)
        ) {
            let mut seen: HashMap<Key, (String, String, String)> = HashMap::new();
            for (who, what, tab) in all {
                let key = key(&session(&who), &what, Some(&tab), Sharing::PerConnection).unwrap();
                let asked = (who, what, tab);
                let first = seen.entry(key).or_insert_with(|| asked.clone());
                prop_assert_eq!(&*first, &asked);
            }
        }

        /// However many there are, so many are kept.
        #[test]
        fn attachments_are_bounded(names in prop::collection::vec("[a-z]{1,8}", 0..50)) {
            let attachments = Attachments(Cache::builder().max_capacity(10).build());
            for name in &names {
                let key = key(&session(name), "d", None, Sharing::PerDocument).unwrap();
                attachments.slot(key);
            }
            attachments.0.run_pending_tasks();
            prop_assert!(attachments.0.entry_count() <= 10);
        }
    }
}
