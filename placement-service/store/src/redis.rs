//! The store that replicas share in Redis 6 or newer, or Valkey. Each step is one script, so it happens as a
//! whole or not at all. Every key begins with `{prefix}`: in a cluster they all lie in one hash slot.
//!
//! | key (after `{prefix}:`) | what |
//! | --- | --- |
//! | `session:ID` | hash: the fields of a session; ID is the id's SHA-256 in base64url |
//! | `refs` | hash: public name -> ID |
//! | `ends` | sorted set: ID by the time it ends if nothing more happens |
//! | `account:NAME`, `children:ID`, `subject:...`, `sid:...` | sorted sets: ID by the time it began |
//! | `orphaned` | set: IDs that are gone but have children |
//! | `events`, `sequence` | stream, and the newest number in it |
//! | `user:NAME`, `users` | hash: the fields of an account; sorted set: their names |
//! | `ledger:...` | what replicas have placed: see `ledger` |
//! | `positions`, `letters:HOOK`, `keys`, `leases`, `used` | what webhooks and replicas agree on |
//!
//! Nothing expires by itself, as every end has to be told: Redis must not evict (`maxmemory-policy noeviction`).

/// What every script begins with.
const SHARED: &str = include_str!("redis/shared.lua");

/// Declares scripts, each after what they share.
macro_rules! scripts {
    ($($name:ident = $code:expr;)+) => {
        $(static $name: std::sync::LazyLock<redis::Script> = std::sync::LazyLock::new(|| {
            redis::Script::new(&format!("{}\n{}", crate::redis::SHARED, $code))
        });)+
    };
}

mod accounts;
mod coordination;
mod events;
mod ledger;
mod link;
mod row;
mod sessions;

use crate::StoreError;
pub use ledger::{Change, Heard, RedisLedger, Reserved, Synced};
pub(crate) use link::Link;
use redis::{Cmd, FromRedisValue, Script};
pub use row::{Fields, session_from};
use std::time::Duration;

/// Sessions and accounts in one Redis.
pub struct RedisStore {
    link: Link,
    prefix: String,
}

impl RedisStore {
    /// Connects, and tries the connection. `limit` is for a connection and for one answer.
    pub async fn open(url: &str, prefix: &str, limit: Duration) -> Result<Self, StoreError> {
        let store = Self {
            link: Link::new(url, limit)?,
            prefix: format!("{{{prefix}}}"),
        };
        crate::Coordination::ping(&store).await?;
        Ok(store)
    }

    /// Whether a URL can be one of a Redis; else what is wrong, without its secrets.
    pub fn check_url(url: &str) -> Result<(), StoreError> {
        Link::new(url, Duration::ZERO).map(drop)
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
        let (mut connection, era) = self.link.connection().await?;
        let answer = invocation.invoke_async(&mut connection);
        self.link.answer(era, answer).await
    }

    async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let (mut connection, era) = self.link.connection().await?;
        let answer = command.query_async(&mut connection);
        self.link.answer(era, answer).await
    }
}
