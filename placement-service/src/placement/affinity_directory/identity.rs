//! The names of keys and owners in the store: keyed hashes, so that the store holds no text of a key. Replicas on one
//! store derive the same names.

use crate::sessions::server_keys::load_mac;
use berth_store::{AffinityId, Coordination, OwnerId, StoreError};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The derivations of ids.
#[derive(Clone)]
pub struct AffinityKeys(Hmac<Sha256>);

impl AffinityKeys {
    /// Loads the server key. Creates it if the store is new.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn load(store: &dyn Coordination) -> Result<Self, StoreError> {
        Ok(Self(load_mac(store, "affinity").await?))
    }

    /// The id of a key: its parts, in the affinity of this name, in this pool.
    #[must_use]
    pub fn id(&self, pool: &str, affinity: &str, key: &[&str]) -> AffinityId {
        AffinityId(self.hash("key", &[&[pool, affinity], key].concat()))
    }

    /// The owner of the keys that an account has in the affinity of this name, in this pool.
    #[must_use]
    pub fn owner(&self, pool: &str, affinity: &str, account: &str) -> OwnerId {
        OwnerId(self.hash("owner", &[pool, affinity, account]))
    }

    /// Each part has its length in front, so that parts cannot run into one another.
    fn hash(&self, kind: &str, parts: &[&str]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in [&[kind], parts].concat() {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_store::in_memory::InMemoryStore;
    use proptest::prelude::*;
    use std::collections::HashMap;

    async fn keys(seed: &[u8]) -> AffinityKeys {
        let store = InMemoryStore::new(Some(seed)).unwrap();
        AffinityKeys::load(&store).await.unwrap()
    }

    #[tokio::test]
    async fn replicas_with_one_server_key_derive_the_same_ids_and_others_do_not() {
        let (one, same, other) = (keys(b"a").await, keys(b"a").await, keys(b"b").await);
        let id = |keys: &AffinityKeys| keys.id("apps", "account", &["ann"]);
        assert_eq!(id(&one), id(&same));
        assert_ne!(id(&one), id(&other));
        let owner = |keys: &AffinityKeys| keys.owner("apps", "account", "ann");
        assert_eq!(owner(&one), owner(&same));
        assert_ne!(owner(&one), owner(&other));
        assert_ne!(owner(&one).0, id(&one).0);
    }

    proptest! {
        /// A difference in any part gives another id.
        #[test]
        fn each_pool_affinity_and_key_has_its_own_id(
            all in prop::collection::vec(
                ("[ab]{0,2}", "[ab]{0,2}", prop::collection::vec("[ab]{0,2}", 0..3)), 2..40
            )
        ) {
            let keys = AffinityKeys(Hmac::new_from_slice(&[7; 32]).unwrap());
            let mut seen: HashMap<AffinityId, (String, String, Vec<String>)> = HashMap::new();
            for (pool, affinity, parts) in all {
                let texts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let id = keys.id(&pool, &affinity, &texts);
                let named = (pool, affinity, parts);
                let first = seen.entry(id).or_insert_with(|| named.clone());
                prop_assert_eq!(&*first, &named);
            }
        }
    }
}
