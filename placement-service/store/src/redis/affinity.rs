//! Affinity records in Redis: one script for each step, so each is atomic.

mod fields;

use super::RedisStore;
use super::row::Fields;
use crate::row::affinity::to_ms;
use crate::{
    AffinityClaim, AffinityId, AffinityKind, AffinityPage, AffinityRecord, AffinityStore,
    AffinityTarget, ClaimResult, MAX_CLAIM_TTL, OwnerId, StoreError, TabAffinity,
};
use async_trait::async_trait;
use fields::{affinity_from, encode, target_fields};
use std::time::Duration;

/// Declares scripts, each with the prelude of affinity records in front.
macro_rules! affinity_scripts {
    ($($name:ident = $code:expr;)+) => {
        scripts! { $($name = format!("{}\n{}", include_str!("affinity/shared.lua"), $code);)+ }
    };
}

affinity_scripts! {
    CLAIM = include_str!("affinity/claim.lua");
    LIST = include_str!("affinity/list.lua");
    FIND = "
        local f = redis.call('HMGET', record(ARGV[1]), 'state', 'expires_at')
        if not is_live(f[1], f[2]) then return {} end
        return redis.call('HGETALL', record(ARGV[1]))";
    // ARGV: id, epoch, claimer, idle, then names and values.
    HOLD = "
        local id = ARGV[1]
        local f = redis.call('HMGET', record(id), 'state', 'epoch', 'claimer', 'expires_at', 'kind', 'pool')
        if f[1] ~= 'preparing' or f[2] ~= ARGV[2] or f[3] ~= ARGV[3] or tonumber(f[4]) <= now then return 0 end
        redis.call('HDEL', record(id), 'claimer')
        redis.call('HSET', record(id), 'state', 'held', 'last_active_at', whole(now), 'idle_timeout', ARGV[4])
        set_engine(id, f[5], f[6], 5)
        set_expiry(id, now + tonumber(ARGV[4]))
        return 1";
    // ARGV: id, epoch, claimer, duration of the claim.
    REPLACE = "
        local id = ARGV[1]
        local f = redis.call('HMGET', record(id), 'state', 'epoch', 'expires_at')
        if f[1] ~= 'held' or f[2] ~= ARGV[2] or tonumber(f[3]) <= now then return false end
        remove_engine(id)
        local epoch = whole(tonumber(f[2]) + 1)
        redis.call('HSET', record(id), 'state', 'preparing', 'epoch', epoch, 'claimer', ARGV[3])
        set_expiry(id, now + tonumber(ARGV[4]))
        return epoch";
    // ARGV: id, epoch, reason.
    RELEASE = "
        local id = ARGV[1]
        local f = redis.call('HMGET', record(id), 'state', 'epoch')
        if not f[1] or f[1] == 'released' or f[2] ~= ARGV[2] then return 0 end
        remove_engine(id)
        redis.call('HDEL', record(id), 'claimer')
        redis.call('HSET', record(id), 'state', 'released', 'reason', ARGV[3])
        return 1";
    // ARGV: for each record its id and how many milliseconds ago it was active.
    TOUCH = "
        for i = 1, #ARGV, 2 do
            local id, at = ARGV[i], now - tonumber(ARGV[i + 1])
            local f = redis.call('HMGET', record(id), 'state', 'last_active_at', 'idle_timeout')
            if f[1] == 'held' and tonumber(f[2]) < at then
                redis.call('HSET', record(id), 'last_active_at', whole(at))
                set_expiry(id, at + tonumber(f[3]))
            end
        end";
    // ARGV: kind, owner. Returns pairs of an id and its fields.
    OF_OWNER = "
        local found, key = {}, of_owner(ARGV[1], ARGV[2])
        for _, id in ipairs(redis.call('SMEMBERS', key)) do
            local f = redis.call('HMGET', record(id), 'state', 'expires_at')
            if not f[1] then
                redis.call('SREM', key, id)
            elseif is_live(f[1], f[2]) then
                found[#found + 1] = {id, redis.call('HGETALL', record(id))}
            end
        end
        return found";
    REMOVE_OF_OWNER = "
        local key = of_owner(ARGV[1], ARGV[2])
        local ids = redis.call('SMEMBERS', key)
        for _, id in ipairs(ids) do remove(id) end
        redis.call('DEL', key)
        return #ids";
    SWEEP = "
        local ids = redis.call('ZRANGEBYSCORE', expiry, '-inf', whole(now), 'LIMIT', 0, ARGV[1])
        for _, id in ipairs(ids) do remove(id) end
        return #ids";
    // ARGV: id, owner, pool, how many milliseconds ago it was active, idle, then names and values.
    PUT_TAB = "
        local id, owner, pool, at, idle = ARGV[1], ARGV[2], ARGV[3], now - tonumber(ARGV[4]), tonumber(ARGV[5])
        local f = redis.call('HMGET', record(id), 'kind', 'epoch', 'created_at', 'last_active_at')
        if f[1] and (f[1] ~= 'tab' or tonumber(f[4]) > at) then return end
        remove(id)
        local epoch = f[2] and tonumber(f[2]) + 1 or now
        redis.call('HSET', record(id), 'kind', 'tab', 'owner', owner, 'pool', pool, 'epoch', whole(epoch),
            'state', 'held', 'created_at', f[3] or whole(now), 'last_active_at', whole(at), 'idle_timeout', ARGV[5])
        redis.call('SADD', of_owner('tab', owner), id)
        set_engine(id, 'tab', pool, 6)
        set_expiry(id, at + idle)";
}

#[async_trait]
impl AffinityStore for RedisStore {
    async fn find_affinity(&self, id: &AffinityId) -> Result<Option<AffinityRecord>, StoreError> {
        let id = encode(&id.0);
        let fields: Fields = self.script(&FIND, std::slice::from_ref(&id)).await?;
        let there = !fields.is_empty();
        there.then(|| affinity_from(&id, &fields)).transpose()
    }

    async fn claim_affinity(&self, claim: &AffinityClaim<'_>) -> Result<ClaimResult, StoreError> {
        let id = encode(&claim.id.0);
        let limit = claim.max_per_owner.map(|max| max.to_string());
        let arguments = [
            id.clone(),
            claim.owner.map_or(String::new(), |owner| encode(&owner.0)),
            claim.pool.to_owned(),
            claim.claimer.to_owned(),
            to_ms(claim.ttl.min(MAX_CLAIM_TTL)).to_string(),
            limit.unwrap_or_default(),
            to_ms(MAX_CLAIM_TTL).to_string(),
        ];
        let (result, number, fields): (String, u64, Fields) =
            self.script(&CLAIM, &arguments).await?;
        Ok(match result.as_str() {
            "claimed" => ClaimResult::Claimed { epoch: number },
            "held" => ClaimResult::Held(Box::new(affinity_from(&id, &fields)?)),
            "preparing" => ClaimResult::Preparing {
                remaining: Duration::from_millis(number),
            },
            _ => ClaimResult::LimitReached,
        })
    }

    async fn hold_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        claimer: &str,
        target: &AffinityTarget,
        idle: Duration,
    ) -> Result<bool, StoreError> {
        let mut arguments = vec![encode(&id.0), epoch.to_string(), claimer.to_owned()];
        arguments.push(to_ms(idle).to_string());
        arguments.extend(target_fields(target)?);
        self.script(&HOLD, &arguments).await
    }

    async fn replace_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        claimer: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let mut arguments = vec![encode(&id.0), epoch.to_string(), claimer.to_owned()];
        arguments.push(to_ms(ttl.min(MAX_CLAIM_TTL)).to_string());
        self.script(&REPLACE, &arguments).await
    }

    async fn release_affinity(
        &self,
        id: &AffinityId,
        epoch: u64,
        reason: &str,
    ) -> Result<bool, StoreError> {
        let arguments = [encode(&id.0), epoch.to_string(), reason.to_owned()];
        self.script(&RELEASE, &arguments).await
    }

    async fn touch_affinity(&self, active: &[(AffinityId, Duration)]) -> Result<(), StoreError> {
        let pairs = active.iter();
        let pairs = pairs.map(|(id, ago)| [encode(&id.0), to_ms(*ago).to_string()]);
        let arguments: Vec<_> = pairs.flatten().collect();
        self.script(&TOUCH, &arguments).await
    }

    async fn list_affinity(
        &self,
        page: &AffinityPage<'_>,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError> {
        let after = |(engine, id): (&str, AffinityId)| format!("({engine}\0{}", encode(&id.0));
        let of_engine = page.engine.map(|engine| format!("[{engine}\0"));
        let first = of_engine.unwrap_or_else(|| "-".to_owned());
        // No id begins with the character after the separator.
        let last = page.engine.map(|engine| format!("({engine}\u{1}"));
        let arguments = [
            page.kind.as_str().to_owned(),
            page.pool.to_owned(),
            page.after.map_or(first, after),
            last.unwrap_or_else(|| "+".to_owned()),
            limit.to_string(),
        ];
        let found: Vec<(String, Fields)> = self.script(&LIST, &arguments).await?;
        let records = found.iter().map(|(id, fields)| affinity_from(id, fields));
        records.collect()
    }

    async fn affinity_of_owner(
        &self,
        kind: AffinityKind,
        owner: &OwnerId,
        limit: u32,
    ) -> Result<Vec<AffinityRecord>, StoreError> {
        let arguments = [kind.as_str().to_owned(), encode(&owner.0)];
        let found: Vec<(String, Fields)> = self.script(&OF_OWNER, &arguments).await?;
        let records = found.iter().map(|(id, fields)| affinity_from(id, fields));
        let mut records = records.collect::<Result<Vec<_>, _>>()?;
        records.sort_by_key(|record| (record.created_at_ms, record.id));
        records.truncate(limit as usize);
        Ok(records)
    }

    async fn remove_affinity_of_owner(
        &self,
        kind: AffinityKind,
        owner: &OwnerId,
    ) -> Result<u64, StoreError> {
        let arguments = [kind.as_str().to_owned(), encode(&owner.0)];
        self.script(&REMOVE_OF_OWNER, &arguments).await
    }

    async fn sweep_affinity(&self, limit: u32) -> Result<u64, StoreError> {
        self.script(&SWEEP, &[limit.to_string()]).await
    }

    async fn put_tab_affinity(&self, tabs: &[TabAffinity]) -> Result<(), StoreError> {
        for tab in tabs {
            let mut arguments = vec![encode(&tab.id.0), encode(&tab.owner.0), tab.pool.clone()];
            arguments.extend([tab.idle_for, tab.idle].map(|time| to_ms(time).to_string()));
            arguments.extend(target_fields(&tab.target)?);
            self.script::<()>(&PUT_TAB, &arguments).await?;
        }
        Ok(())
    }
}
