//! The ledger that replicas share: the placements and open streams of each replica, by engine. The entries of a
//! replica count while its lease lasts. All times are the Redis server's, so clock differences between replicas
//! do not matter. Also passes the probe results of one replica to the others.
//!
//! | key (after `{prefix}:ledger:`) | what |
//! | --- | --- |
//! | `replicas` | sorted set: replicas by the end of their lease |
//! | `streams:REPLICA` | hash: stream -> engine |
//! | `counts:REPLICA` | hash: engine or pool -> number of its streams |
//! | `moved:REPLICA` | list: streams that another replica has taken over or closed |
//! | `holders:REPLICA` | hash: pool and session, or pool and API account -> number of its streams |
//! | `settling` | exists while replicas report their streams to an empty ledger |
//! | `prober`, `probes` | the replica that probes; stream: the results |

use super::RedisStore;
use crate::StoreError;
use redis::cmd;
use std::collections::HashMap;
use std::time::Duration;

/// Maximum number of changes per script.
const MAX_CHANGES: usize = 500;

/// The prelude of every script of the ledger.
const LEDGER_PRELUDE: &str = include_str!("ledger.lua");

macro_rules! ledger_scripts {
    ($($name:ident = $code:literal;)+) => {
        scripts! { $($name = format!("{}{}", crate::redis::ledger::LEDGER_PRELUDE, $code);)+ }
    };
}

mod probes;
mod streams;

pub use probes::SharedProbe;

ledger_scripts! {
    RESERVE = "
        local me, stream, engine = ARGV[1], ARGV[3], ARGV[4]
        local replicas = alive()
        if not is_alive(me) then return {'lapsed', 0, 0} end
        renew_lease(me, ARGV[2])
        if redis.call('EXISTS', settling_key) == 1 then return {'settling', 0, 0} end
        if redis.call('HEXISTS', streams(me), stream) == 1 then return {'yes', 0, 0} end
        for at, key in ipairs({engine, pool_of(engine)}) do
            local most, sum = tonumber(ARGV[4 + at]), total(replicas, key)
            if most and sum >= most then return {at == 1 and 'engine' or 'pool', sum, has(me, key)} end
        end
        add_stream(me, stream, engine)
        return {'yes', 0, 0}";
    APPLY = "
        local me = ARGV[1]
        local replicas = alive()
        if not is_alive(me) then return 0 end
        renew_lease(me, ARGV[2])
        for at = 3, #ARGV, 3 do
            local what, stream, engine = ARGV[at], ARGV[at + 1], ARGV[at + 2]
            if what == 'release' then
                remove_stream(me, stream)
            elseif what == 'closed' then
                for _, replica in ipairs(replicas) do
                    local had = remove_stream(replica, stream)
                    if had and replica ~= me then queue_moved(replica, stream, had) end
                end
            elseif redis.call('HEXISTS', streams(me), stream) == 0 then
                local other
                for _, replica in ipairs(replicas) do
                    if redis.call('HEXISTS', streams(replica), stream) == 1 then other = replica end
                end
                if other and what == 'claim' then
                    queue_moved(me, stream, engine)
                else
                    if other then queue_moved(other, stream, remove_stream(other, stream)) end
                    unqueue_moved(me, stream, engine)
                    add_stream(me, stream, engine)
                end
            end
        end
        return 1";
    SYNC = "
        local me, lease_ms, settle_ms, prober_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
        local replicas = alive()
        local known = is_alive(me) and 1 or 0
        if #replicas == 0 then redis.call('SET', settling_key, 1, 'PX', settle_ms) end
        renew_lease(me, lease_ms)
        local prober = redis.call('GET', l .. 'prober')
        if not prober or prober == me then
            redis.call('SET', l .. 'prober', me, 'PX', prober_ms)
            prober = me
        end
        local gone = redis.call('LRANGE', moved(me), 0, -1)
        redis.call('DEL', moved(me))
        local sums = {}
        for _, replica in ipairs(replicas) do
            if replica ~= me then
                local all = redis.call('HGETALL', counts(replica))
                for at = 1, #all, 2 do sums[all[at]] = (sums[all[at]] or 0) + tonumber(all[at + 1]) end
            end
        end
        local flat = {}
        for key, sum in pairs(sums) do
            flat[#flat + 1] = key
            flat[#flat + 1] = whole(sum)
        end
        return {known, redis.call('EXISTS', settling_key), prober == me and 1 or 0, #replicas + 1 - known, gone, flat}";
}

/// One replica's handle of the ledger.
pub struct RedisLedger {
    store: RedisStore,
    /// The unique name of this replica.
    replica: String,
    lease: Duration,
    settle_time: Duration,
    prober_lease: Duration,
}

/// The result of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReserveResult {
    Reserved,
    /// The engine is full: `total` over all replicas, `own` of this one.
    EngineFull {
        total: u32,
        own: u32,
    },
    PoolFull,
    /// Replicas are still reporting their streams, so free capacity is not known yet.
    Settling,
    /// The lease of this replica has expired: it must report its streams again.
    LeaseExpired,
}

/// A change of a stream's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamChange {
    /// The stream is open at a gateway of this replica; takes it over from any other replica.
    Opened,
    /// This replica holds the stream, unless another replica holds it already.
    Claim,
    /// This replica no longer holds the stream.
    Release,
    /// The stream is closed: no replica holds it.
    Closed,
}

impl StreamChange {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Claim => "claim",
            Self::Release => "release",
            Self::Closed => "closed",
        }
    }
}

/// The reply to a heartbeat of one replica.
#[derive(Debug, Default)]
pub struct SyncReply {
    /// The replica's lease had not expired: its entries still count.
    pub was_alive: bool,
    pub settling: bool,
    /// This replica is the one that probes the engines.
    pub is_prober: bool,
    /// The number of live replicas, including this one.
    pub replicas: u32,
    /// Streams that other replicas have taken over or closed, with their engines.
    pub moved: Vec<(String, String)>,
    /// The streams of the other replicas, by engine and by pool.
    pub remote_counts: HashMap<String, u32>,
}

impl RedisLedger {
    /// Connects and checks the connection. `limit` applies to connecting and to each reply. The entries of a
    /// replica expire `lease` after its last heartbeat; after the ledger was empty, reservations wait for
    /// `settle` so that all replicas can report their streams; another replica becomes the prober when the
    /// current one has been silent for `probing`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn open(
        url: &str,
        prefix: &str,
        me: String,
        [limit, lease, settle, probing]: [Duration; 4],
    ) -> Result<Self, StoreError> {
        Ok(Self {
            store: RedisStore::open(url, prefix, limit).await?,
            replica: me,
            lease,
            settle_time: settle,
            prober_lease: probing,
        })
    }

    /// Counts one more stream on `engine` (`pool/name`), if the engine and its pool have fewer than their
    /// limits.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reserve(
        &self,
        stream: &str,
        engine: &str,
        (per_engine, per_pool): (Option<u32>, Option<u32>),
    ) -> Result<ReserveResult, StoreError> {
        let most = |most: Option<u32>| most.map_or_else(String::new, |most| most.to_string());
        let words = [
            self.replica.clone(),
            milliseconds(self.lease),
            stream.to_owned(),
            engine.to_owned(),
            most(per_engine),
            most(per_pool),
        ];
        let (word, total, own): (String, u32, u32) = self.store.script(&RESERVE, &words).await?;
        match word.as_str() {
            "yes" => Ok(ReserveResult::Reserved),
            "engine" => Ok(ReserveResult::EngineFull { total, own }),
            "pool" => Ok(ReserveResult::PoolFull),
            "settling" => Ok(ReserveResult::Settling),
            "lapsed" => Ok(ReserveResult::LeaseExpired),
            _ => Err(StoreError::malformed("the ledger", "an unknown answer")),
        }
    }

    /// Applies changes in order; each names a stream and, for `Opened` and `Claim`, its engine. `false`: the
    /// lease of this replica had expired, and some changes were not applied.
    ///
    /// # Errors
    /// When Redis does not answer: some changes may have been applied.
    pub async fn apply(&self, changes: &[(StreamChange, &str, &str)]) -> Result<bool, StoreError> {
        for some in changes.chunks(MAX_CHANGES) {
            let mut words = vec![self.replica.clone(), milliseconds(self.lease)];
            for (change, stream, engine) in some {
                words.extend([change.as_str(), stream, engine].map(str::to_owned));
            }
            if !self.store.script(&APPLY, &words).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sends a heartbeat and returns the state of the other replicas.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn sync(&self) -> Result<SyncReply, StoreError> {
        let words = [
            self.replica.clone(),
            milliseconds(self.lease),
            milliseconds(self.settle_time),
            milliseconds(self.prober_lease),
        ];
        type Answer = (bool, bool, bool, u32, Vec<String>, Vec<String>);
        let (known, settling, prober, replicas, moved, flat): Answer =
            self.store.script(&SYNC, &words).await?;
        let moved = moved.iter().filter_map(|words| words.split_once(' '));
        let mut elsewhere = HashMap::new();
        let mut flat = flat.into_iter();
        while let (Some(key), Some(count)) = (flat.next(), flat.next()) {
            elsewhere.insert(key, count.parse().unwrap_or(0));
        }
        Ok(SyncReply {
            was_alive: known,
            settling,
            is_prober: prober,
            replicas,
            moved: moved.map(|(a, b)| (a.to_owned(), b.to_owned())).collect(),
            remote_counts: elsewhere,
        })
    }

    /// The streams that the ledger has for this replica.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn own_streams(&self) -> Result<Vec<String>, StoreError> {
        let key = self.store.key(&format!("ledger:streams:{}", self.replica));
        self.store.command(cmd("HKEYS").arg(key)).await
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().to_string()
}
