//! Keys that the service generates and shares between replicas through the store, and what is derived from them: a
//! session's public name, an anonymous id, and the event log's id.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use berth_scheduler::stream_holder::TOKEN_PREFIX;
use berth_store::session_id::IdHash;
use berth_store::{Coordination, LogId, StoreError};
use hmac::{Hmac, Mac};
use rand::Rng;
use sha2::Sha256;

/// The derivations from server keys.
#[derive(Clone)]
pub struct ServerKeys {
    session_ref: Hmac<Sha256>,
    anonymous: Hmac<Sha256>,
}

impl ServerKeys {
    /// Loads the keys. Creates them if the store is new.
    pub async fn load(store: &dyn Coordination) -> Result<Self, StoreError> {
        Ok(Self {
            session_ref: load_mac(store, "session-ref").await?,
            anonymous: load_mac(store, "anonymous").await?,
        })
    }

    /// The public name of a session for logs, metrics and gateways: 128 bits as base64url. Neither the id nor its hash
    /// can be derived from it.
    #[must_use]
    pub fn session_ref(&self, id: &IdHash) -> String {
        encode_128_bits(self.session_ref.clone().chain_update(id.0))
    }

    /// The public name of a token without a session, in the place of a `session_ref`. All tokens of an account share a
    /// prefix, so that streams can be counted by account from their names alone.
    #[must_use]
    pub fn token_ref(&self, account: &str, token: &str) -> String {
        let keyed = |bytes: &[u8], text: &str| {
            let mac = self.session_ref.clone().chain_update(bytes);
            encode_128_bits(mac.chain_update(text))
        };
        let (account, token) = (keyed(b"account ", account), keyed(b"bearer ", token));
        format!("{TOKEN_PREFIX}{account}.{token}")
    }

    /// The anonymous id for a stale cookie: the same on every replica and every time.
    #[must_use]
    pub fn anonymous_id(&self, stale_cookie: &str) -> String {
        let mac = self.anonymous.clone().chain_update(b"anonymous");
        let tag = mac.chain_update(stale_cookie.as_bytes()).finalize();
        URL_SAFE_NO_PAD.encode(tag.into_bytes())
    }
}

/// The id of the store's event log. A store that was lost and created again has another id.
pub async fn log_id(store: &dyn Coordination) -> Result<LogId, StoreError> {
    let tag = load_mac(store, "event-log").await?.finalize().into_bytes();
    let first = tag.first_chunk().copied().unwrap_or_default();
    Ok(LogId(u64::from_be_bytes(first)))
}

/// 128 bits as base64url.
fn encode_128_bits(mac: Hmac<Sha256>) -> String {
    let tag = mac.finalize().into_bytes();
    URL_SAFE_NO_PAD.encode(tag.iter().copied().take(16).collect::<Vec<_>>())
}

/// The server key of that name, as an initialized MAC.
pub(crate) async fn load_mac(
    store: &dyn Coordination,
    name: &str,
) -> Result<Hmac<Sha256>, StoreError> {
    let mut candidate = [0_u8; 32];
    rand::rng().fill_bytes(&mut candidate);
    let key = store.server_key(name, candidate).await?;
    Hmac::new_from_slice(&key).map_err(|e| StoreError::Data(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_scheduler::stream_holder::{is_token_ref, stream_holder};
    use berth_store::sqlite::SqliteStore;

    #[tokio::test]
    async fn replicas_with_one_store_derive_the_same_names_and_others_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        let other = SqliteStore::open(&dir.path().join("b.db")).await.unwrap();
        let first = ServerKeys::load(&store).await.unwrap();
        let second = ServerKeys::load(&store).await.unwrap();
        let other_store_keys = ServerKeys::load(&other).await.unwrap();
        let id = IdHash([7; 32]);
        assert_eq!(first.session_ref(&id), second.session_ref(&id));
        assert_ne!(first.session_ref(&id), other_store_keys.session_ref(&id));
        assert_eq!(first.session_ref(&id).len(), 22);
        assert_eq!(first.anonymous_id("X"), second.anonymous_id("X"));
        assert_ne!(first.anonymous_id("X"), first.anonymous_id("Y"));
        assert_ne!(first.anonymous_id("X"), other_store_keys.anonymous_id("X"));
        assert_eq!(first.anonymous_id("X").len(), 43);
        assert_eq!(log_id(&store).await.unwrap(), log_id(&store).await.unwrap());
        assert_ne!(log_id(&store).await.unwrap(), log_id(&other).await.unwrap());
    }

    #[tokio::test]
    async fn tokens_of_an_account_share_one_holder_and_a_session_is_its_own_holder() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db")).await.unwrap();
        let keys = ServerKeys::load(&store).await.unwrap();
        let holder = stream_holder;
        let (first, second) = (keys.token_ref("robot", "a"), keys.token_ref("robot", "b"));
        assert_ne!(first, second);
        assert_eq!(holder(&first), holder(&second));
        assert!(is_token_ref(holder(&first)));
        assert!(berth_api::is_stream_name(&first));
        assert_ne!(holder(&first), holder(&keys.token_ref("other", "a")));
        let session = keys.session_ref(&IdHash([7; 32]));
        assert_eq!(holder(&session), session);
        for name in ["", "a.b", "t.", "t.x"] {
            assert_eq!(holder(name), name);
        }
        assert_eq!(holder("t..x"), "t.");
    }
}
