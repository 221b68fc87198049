//! Accounts in Redis. Compare-and-set runs as a script, so it is atomic.

use super::RedisStore;
use super::row::{Fields, account_fields, account_from};
use crate::row::to_json;
use crate::{AccountChange, AccountRow, AccountStore, Attempts, StoreError};
use async_trait::async_trait;
use redis::cmd;

scripts! {
    ADD = "
        local user = p .. 'user:' .. ARGV[1]
        if exists(user) then return 0 end
        redis.call('HSET', user, unpack(ARGV, 2))
        redis.call('ZADD', p .. 'users', 0, ARGV[1])
        return 1";
    ALL = "
        local all = {}
        for _, name in ipairs(redis.call('ZRANGE', p .. 'users', 0, -1)) do
            all[#all + 1] = {name, redis.call('HGETALL', p .. 'user:' .. name)}
        end
        return all";
    CHANGE = "
        local user = p .. 'user:' .. ARGV[1]
        if not exists(user) then return 0 end
        redis.call('HSET', user, ARGV[2], ARGV[3])
        return 1";
    REMOVE = "
        redis.call('ZREM', p .. 'users', ARGV[1])
        return redis.call('DEL', p .. 'user:' .. ARGV[1])";
    SET_ATTEMPTS = "
        local user = p .. 'user:' .. ARGV[1]
        local f = redis.call('HMGET', user, 'failures', 'locked_until')
        if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return 0 end
        redis.call('HSET', user, 'failures', ARGV[4], 'locked_until', ARGV[5])
        return 1";
    SET_DEVICES = "
        local user = p .. 'user:' .. ARGV[1]
        if not exists(user) then return 0 end
        if (redis.call('HGET', user, 'devices') or '') ~= ARGV[2] then return 0 end
        redis.call('HSET', user, 'devices', ARGV[3])
        return 1";
}

#[async_trait]
impl AccountStore for RedisStore {
    async fn add_account(&self, row: &AccountRow) -> Result<bool, StoreError> {
        let mut arguments = vec![row.name.clone()];
        for (name, value) in account_fields(row)? {
            arguments.extend([name.to_owned(), value]);
        }
        self.script(&ADD, &arguments).await
    }

    async fn find_account(&self, name: &str) -> Result<Option<AccountRow>, StoreError> {
        let key = self.key(&format!("user:{name}"));
        let fields: Fields = self.command(cmd("HGETALL").arg(key)).await?;
        let there = !fields.is_empty();
        there.then(|| account_from(name, &fields)).transpose()
    }

    async fn accounts(&self) -> Result<Vec<AccountRow>, StoreError> {
        let all: Vec<(String, Fields)> = self.script(&ALL, &[]).await?;
        let rows = all.iter().map(|(name, fields)| account_from(name, fields));
        rows.collect()
    }

    async fn change_account(&self, name: &str, change: &AccountChange) -> Result<bool, StoreError> {
        let (field, value) = match change {
            AccountChange::PasswordHash(hash) => ("password_hash", hash.clone()),
            AccountChange::Roles(roles) => ("roles", to_json(roles)?),
            AccountChange::Locked(locked) => ("locked", u8::from(*locked).to_string()),
        };
        let arguments = [name.to_owned(), field.to_owned(), value];
        self.script(&CHANGE, &arguments).await
    }

    async fn remove_account(&self, name: &str) -> Result<bool, StoreError> {
        self.script(&REMOVE, &[name.to_owned()]).await
    }

    async fn set_attempts(
        &self,
        name: &str,
        before: Attempts,
        after: Attempts,
    ) -> Result<bool, StoreError> {
        let mut arguments = vec![name.to_owned()];
        for attempts in [before, after] {
            arguments.push(attempts.failures.to_string());
            arguments.push(attempts.locked_until_ms.to_string());
        }
        self.script(&SET_ATTEMPTS, &arguments).await
    }

    async fn set_devices(&self, name: &str, before: &str, after: &str) -> Result<bool, StoreError> {
        let arguments = [name, before, after].map(str::to_owned);
        self.script(&SET_DEVICES, &arguments).await
    }
}
