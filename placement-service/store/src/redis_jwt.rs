//! The sessions of another login service in Redis, read-only: the key is a prefix and the cookie's value, the
//! value a JWT. With it, Berth can replace a gateway while its login service stays. Events and leases stay in
//! this process; the Redis user needs only `+get +pttl +time +ping`.

mod jwt;

use crate::in_memory::InMemoryStore;
use crate::redis::RedisConnection;
use crate::session_id::IdHash;
use crate::{
    AccountChange, AccountRow, AccountStore, Attempts, Coordination, Event, InsertResult,
    SessionQuery, SessionRemoval, SessionRow, SessionStore, StoreError, Stores,
};
use async_trait::async_trait;
pub use jwt::{JwtKey, JwtRules, StoredJwt, session_from};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The longest login cookie that the service accepts.
const MAX_ID_BYTES: usize = 128;

/// The reply of PTTL for a missing key.
const NO_KEY: i64 = -2;

/// Derives the `session_ref` of a session.
type SessionRefFn = dyn Fn(&IdHash) -> String + Send + Sync;

/// The sessions of another login service.
pub struct RedisJwtStore {
    connection: RedisConnection,
    prefix: String,
    rules: JwtRules,
    session_ref_of: Box<SessionRefFn>,
}

impl RedisJwtStore {
    /// Connects and checks the connection with a PING.
    pub async fn open(
        url: &str,
        prefix: &str,
        rules: JwtRules,
        limit: Duration,
        session_ref_of: impl Fn(&IdHash) -> String + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let store = Self {
            connection: RedisConnection::new(url, limit)?,
            prefix: prefix.to_owned(),
            rules,
            session_ref_of: Box::new(session_ref_of),
        };
        store.command::<()>(&redis::cmd("PING")).await?;
        Ok(store)
    }

    /// The traits of the store: sessions from here, events and leases from `memory`.
    #[must_use]
    pub fn into_stores(self, memory: Arc<InMemoryStore>) -> Stores {
        let store = Arc::new(self);
        Stores {
            sessions: store.clone(),
            accounts: Some(store.clone()),
            events: memory.clone(),
            coordination: Arc::new(ReadOnlyCoordination { store, memory }),
            affinity: None,
            writability: Arc::default(),
        }
    }

    async fn command<T: redis::FromRedisValue>(
        &self,
        command: &redis::Cmd,
    ) -> Result<T, StoreError> {
        let (mut connection, generation) = self.connection.acquire().await?;
        let answer = command.query_async(&mut connection);
        self.connection.receive(generation, answer).await
    }
}

#[async_trait]
impl SessionStore for RedisJwtStore {
    fn cookie_id(&self, cookie: &str) -> Option<IdHash> {
        let fine = (1..=MAX_ID_BYTES).contains(&cookie.len());
        fine.then(|| IdHash(Sha256::digest(cookie.as_bytes()).into()))
    }

    async fn find_by_cookie(&self, cookie: &str) -> Result<Option<SessionRow>, StoreError> {
        let Some(id) = self.cookie_id(cookie) else {
            return Ok(None);
        };
        let key = format!("{}{cookie}", self.prefix);
        let text: String = match self.command(redis::cmd("GET").arg(&key)).await {
            Ok(Some(text)) => text,
            // A key of another type is not a session.
            Ok(None) | Err(StoreError::Data(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut questions = redis::pipe();
        questions.cmd("PTTL").arg(&key).cmd("TIME");
        let (mut connection, generation) = self.connection.acquire().await?;
        let answers = questions.query_async(&mut connection);
        let (ttl_ms, (seconds, micros)): (i64, (u64, u64)) =
            self.connection.receive(generation, answers).await?;
        if ttl_ms == NO_KEY {
            // The key expired between the two commands.
            return Ok(None);
        }
        let now_ms = seconds.saturating_mul(1000).saturating_add(micros / 1000);
        let kept = StoredJwt {
            jwt: &text,
            now_ms,
            // Negative: the key has no expiry.
            expires_at_ms: u64::try_from(ttl_ms)
                .ok()
                .map(|ttl| now_ms.saturating_add(ttl)),
        };
        match session_from(&kept, &self.rules, id, (self.session_ref_of)(&id)) {
            Ok(row) => Ok(Some(row)),
            Err(fault) => {
                let session = (self.session_ref_of)(&id);
                tracing::warn!(session, fault, "the stored JWT is not a valid session");
                Ok(None)
            }
        }
    }

    async fn find(&self, _id: &IdHash) -> Result<Option<SessionRow>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn find_by_ref(&self, _session_ref: &str) -> Result<Option<SessionRow>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn insert(
        &self,
        _row: &SessionRow,
        _limit: Option<u32>,
        _event: &Event,
    ) -> Result<InsertResult, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn touch(&self, _seen: &[(IdHash, u64)]) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn remove(&self, _endings: &[SessionRemoval]) -> Result<Vec<IdHash>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn list(
        &self,
        select: &SessionQuery,
        _limit: u32,
    ) -> Result<Vec<SessionRow>, StoreError> {
        match select {
            // Nothing to clean up; not an error.
            SessionQuery::ExpiredAt(_) | SessionQuery::Orphans => Ok(Vec::new()),
            _ => Err(StoreError::ReadOnly),
        }
    }

    async fn count_live(&self, _now_ms: u64) -> Result<u64, StoreError> {
        Err(StoreError::ReadOnly)
    }
}

#[async_trait]
impl AccountStore for RedisJwtStore {
    async fn add_account(&self, _row: &AccountRow) -> Result<bool, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn find_account(&self, _name: &str) -> Result<Option<AccountRow>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn change_account(
        &self,
        _name: &str,
        _change: &AccountChange,
    ) -> Result<bool, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn remove_account(&self, _name: &str) -> Result<bool, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn set_attempts(
        &self,
        _name: &str,
        _before: Attempts,
        _after: Attempts,
    ) -> Result<bool, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn set_devices(
        &self,
        _name: &str,
        _before: &str,
        _after: &str,
    ) -> Result<bool, StoreError> {
        Err(StoreError::ReadOnly)
    }
}

/// Coordination in memory whose `ping` checks the Redis of the sessions.
struct ReadOnlyCoordination {
    store: Arc<RedisJwtStore>,
    memory: Arc<InMemoryStore>,
}

#[async_trait]
impl Coordination for ReadOnlyCoordination {
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError> {
        self.memory.server_key(name, candidate).await
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        self.memory.lease(name, holder, ttl).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        self.memory.release_lease(name, holder).await
    }

    async fn claim(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError> {
        self.memory.claim(key, now_ms, until_ms).await
    }

    async fn is_claimed(&self, key: &str, now_ms: u64) -> Result<bool, StoreError> {
        self.memory.is_claimed(key, now_ms).await
    }

    async fn purge_claims(&self) -> Result<(), StoreError> {
        self.memory.purge_claims().await
    }

    async fn put_value(&self, name: &str, text: Option<&str>) -> Result<(), StoreError> {
        self.memory.put_value(name, text).await
    }

    async fn list_values(
        &self,
        prefix: &str,
    ) -> Result<std::collections::BTreeMap<String, String>, StoreError> {
        self.memory.list_values(prefix).await
    }

    /// Nothing is written to this Redis.
    async fn heartbeat(&self) -> Result<(), StoreError> {
        self.memory.heartbeat().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.store.command(&redis::cmd("PING")).await
    }
}
