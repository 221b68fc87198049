//! State that the replicas on one Redis share: server keys, leases, claims and texts.

use super::RedisStore;
use crate::{Coordination, StoreError};
use async_trait::async_trait;
use redis::cmd;
use std::collections::BTreeMap;
use std::time::Duration;

scripts! {
    LEASE = "
        local kept, now, ends = redis.call('HGET', p .. 'leases', ARGV[1]), time_ms(), time_ms() + tonumber(ARGV[3])
        if kept then
            local until_ms, holder = kept:match('^(%d+) (.*)$')
            until_ms = tonumber(until_ms)
            -- A lease that ends later than a new one would is of a clock that was ahead: it counts as expired.
            if holder ~= ARGV[2] and until_ms > now and until_ms <= ends then return 0 end
        end
        redis.call('HSET', p .. 'leases', ARGV[1], whole(ends) .. ' ' .. ARGV[2])
        return 1";
    RELEASE = "
        local kept = redis.call('HGET', p .. 'leases', ARGV[1])
        if kept and kept:match('^%d+ (.*)$') == ARGV[2] then redis.call('HDEL', p .. 'leases', ARGV[1]) end
        return 1";
    CLAIM = "
        local until_ms = redis.call('ZSCORE', p .. 'used', ARGV[1])
        if until_ms and tonumber(until_ms) > tonumber(ARGV[2]) then return 0 end
        redis.call('ZADD', p .. 'used', ARGV[3], ARGV[1])
        return 1";
    PURGE_CLAIMS = "return redis.call('ZREMRANGEBYSCORE', p .. 'used', '-inf', whole(time_ms()))";
    HEARTBEAT = "return redis.call('HSET', p .. 'notes', 'heartbeat', whole(time_ms()))";
}

#[async_trait]
impl Coordination for RedisStore {
    async fn server_key(&self, name: &str, candidate: [u8; 32]) -> Result<[u8; 32], StoreError> {
        let keys = self.key("keys");
        let mut set = cmd("HSETNX");
        set.arg(&keys).arg(name).arg(candidate.as_slice());
        self.command::<()>(&set).await?;
        let key: Vec<u8> = self.command(cmd("HGET").arg(keys).arg(name)).await?;
        key.try_into()
            .map_err(|_| StoreError::malformed("a server key", "it has not 32 bytes"))
    }

    async fn lease(&self, name: &str, holder: &str, ttl: Duration) -> Result<bool, StoreError> {
        let ttl_ms = ttl.as_millis().to_string();
        let words = [name.to_owned(), holder.to_owned(), ttl_ms];
        self.script(&LEASE, &words).await
    }

    async fn release_lease(&self, name: &str, holder: &str) -> Result<(), StoreError> {
        let words = [name.to_owned(), holder.to_owned()];
        self.script(&RELEASE, &words).await
    }

    async fn claim(&self, key: &str, now_ms: u64, until_ms: u64) -> Result<bool, StoreError> {
        let words = [key.to_owned(), now_ms.to_string(), until_ms.to_string()];
        self.script(&CLAIM, &words).await
    }

    async fn is_claimed(&self, key: &str, now_ms: u64) -> Result<bool, StoreError> {
        let mut score = cmd("ZSCORE");
        score.arg(self.key("used")).arg(key);
        let until_ms: Option<f64> = self.command(&score).await?;
        // An f64 holds milliseconds exactly for 285,000 years.
        Ok(until_ms.is_some_and(|until_ms| until_ms > now_ms as f64))
    }

    async fn purge_claims(&self) -> Result<(), StoreError> {
        self.script(&PURGE_CLAIMS, &[]).await
    }

    async fn put_value(&self, name: &str, text: Option<&str>) -> Result<(), StoreError> {
        let mut change = cmd(if text.is_some() { "HSET" } else { "HDEL" });
        change.arg(self.key("notes")).arg(name);
        if let Some(text) = text {
            change.arg(text);
        }
        self.command(&change).await
    }

    async fn list_values(&self, prefix: &str) -> Result<BTreeMap<String, String>, StoreError> {
        let mut all: BTreeMap<String, String> =
            self.command(cmd("HGETALL").arg(self.key("notes"))).await?;
        all.retain(|name, _| name.starts_with(prefix));
        Ok(all)
    }

    async fn heartbeat(&self) -> Result<(), StoreError> {
        self.script(&HEARTBEAT, &[]).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.command(&cmd("PING")).await
    }
}
