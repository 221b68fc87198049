//! The store in Redis 6 or newer, or Valkey, shared by replicas. Each operation is one script, so it is atomic.
//! Every key begins with `{prefix}`, so in a cluster all keys are in one hash slot.
//!
//! | key (after `{prefix}:`) | what |
//! | --- | --- |
//! | `session:ID` | hash: the fields of a session; ID is the SHA-256 of the session id in base64url |
//! | `refs` | hash: session_ref -> ID |
//! | `ends` | sorted set: ID by the expiry without further activity |
//! | `account:NAME`, `children:ID`, `subject:...`, `sid:...` | sorted sets: ID by creation time |
//! | `events`, `sequence` | the event log: a stream, and its newest sequence number |
//! | `user:NAME`, `users` | hash: the fields of an account; sorted set: the account names |
//! | `ledger:...` | the placements of all replicas: see `ledger` |
//! | `affinity:ID`, `affinity-expiry` | hash: the fields of an affinity record; sorted set: ID by the expiry |
//! | `affinity-owner:KIND:OWNER` | set: the IDs of an owner's records |
//! | `affinity-engines:KIND:POOL` | sorted set, all scores 0: ENGINE\0ID of the held records |
//! | `positions`, `letters:HOOK`, `keys`, `leases`, `used` | reader positions, dead letters and coordination |
//!
//! No key has a TTL, because every end of a session must be logged. Redis must not evict keys: set
//! `maxmemory-policy noeviction`.

/// The prelude of every script.
const PRELUDE: &str = include_str!("redis/shared.lua");

/// Declares scripts, each with the prelude in front.
macro_rules! scripts {
    ($($name:ident = $code:expr;)+) => {
        $(static $name: std::sync::LazyLock<redis::Script> = std::sync::LazyLock::new(|| {
            redis::Script::new(&format!("{}\n{}", crate::redis::PRELUDE, $code))
        });)+
    };
}

mod accounts;
mod affinity;
mod connection;
mod coordination;
mod events;
mod ledger;
mod row;
mod sessions;

use crate::StoreError;
pub(crate) use connection::RedisConnection;
pub use ledger::{RedisLedger, ReserveResult, SharedProbe, StreamChange, SyncReply};
use redis::{Cmd, FromRedisValue, Script};
pub use row::{Fields, session_from};
use std::time::Duration;

/// Sessions, accounts, events, affinity records and coordination in one Redis.
pub struct RedisStore {
    connection: RedisConnection,
    prefix: String,
}

impl RedisStore {
    /// Connects and checks the connection with a PING. `limit` applies to connecting and to each reply.
    pub async fn open(url: &str, prefix: &str, limit: Duration) -> Result<Self, StoreError> {
        let store = Self {
            connection: RedisConnection::new(url, limit)?,
            prefix: format!("{{{prefix}}}"),
        };
        crate::Coordination::ping(&store).await?;
        Ok(store)
    }

    /// Checks that a URL is one of a Redis server. The error does not contain its secrets.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        RedisConnection::new(url, Duration::ZERO).map(drop)
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Runs a script with the prefix as its key.
    async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        arguments: &[String],
    ) -> Result<T, StoreError> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&self.prefix);
        for argument in arguments {
            invocation.arg(argument);
        }
        let (mut connection, generation) = self.connection.acquire().await?;
        let answer = invocation.invoke_async(&mut connection);
        self.connection.receive(generation, answer).await
    }

    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let (mut connection, generation) = self.connection.acquire().await?;
        let answer = command.query_async(&mut connection);
        self.connection.receive(generation, answer).await
    }
}
