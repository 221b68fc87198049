//! The names of keys and owners in the store: keyed hashes, so that the store holds no text of a key. Replicas on one
//! store derive the same names.

use crate::core::affinity_key::CanonicalKey;
use crate::sessions::server_keys::load_mac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_store::{AffinityId, Coordination, OwnerId, StoreError};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The public name of a key.
#[must_use]
pub fn key_name(id: &AffinityId) -> String {
    URL_SAFE_NO_PAD.encode(id.0)
}

/// The key of a public name; `None` if it is the name of no key.
#[must_use]
pub fn parse_key_name(name: &str) -> Option<AffinityId> {
    let bytes = URL_SAFE_NO_PAD.decode(name).ok()?;
    Some(AffinityId(bytes.try_into().ok()?))
}

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

    /// The id of a key, whose canonical form names its pool.
    #[must_use]
    pub fn id(&self, key: &CanonicalKey) -> AffinityId {
        AffinityId(self.hash(&[b"key", key.as_bytes()]))
    }

    /// The owner of the keys of one kind that an account has in this pool.
    #[must_use]
    pub fn owner(&self, pool: &str, kind: &str, account: &str) -> OwnerId {
        let parts = ["owner", pool, kind, account].map(str::as_bytes);
        OwnerId(self.hash(&parts))
    }

    /// Each part has its length in front, so that parts cannot run into one another.
    fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
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
        let ann = CanonicalKey::from_account("apps", "ann").unwrap();
        let id = |keys: &AffinityKeys| keys.id(&ann);
        assert_eq!(id(&one), id(&same));
        assert_ne!(id(&one), id(&other));
        let owner = |keys: &AffinityKeys| keys.owner("apps", "account", "ann");
        assert_eq!(owner(&one), owner(&same));
        assert_ne!(owner(&one), owner(&other));
        assert_ne!(owner(&one).0, id(&one).0);
    }

    proptest! {
        /// A difference in any part gives another owner.
        #[test]
        fn each_pool_kind_and_account_is_its_own_owner(
            all in prop::collection::vec(("[ab]{0,2}", "[ab]{0,2}", "[ab]{0,2}"), 2..40)
        ) {
            let keys = AffinityKeys(Hmac::new_from_slice(&[7; 32]).unwrap());
            let mut seen: HashMap<[u8; 32], (String, String, String)> = HashMap::new();
            for (pool, kind, account) in all {
                let owner = keys.owner(&pool, &kind, &account);
                let named = (pool, kind, account);
                let first = seen.entry(owner.0).or_insert_with(|| named.clone());
                prop_assert_eq!(&*first, &named);
            }
        }
    }
}
