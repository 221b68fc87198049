-- The prelude of every ledger script: key names, and steps that several scripts share.
local l = p .. 'ledger:'
local replicas_key, settling_key = l .. 'replicas', l .. 'settling'
local now = time_ms()

local function streams(replica) return l .. 'streams:' .. replica end
local function counts(replica) return l .. 'counts:' .. replica end
local function moved(replica) return l .. 'moved:' .. replica end
local function holders(replica) return l .. 'holders:' .. replica end
local function is_alive(replica) return redis.call('ZSCORE', replicas_key, replica) end

local function renew_lease(replica, lease_ms) redis.call('ZADD', replicas_key, whole(now + tonumber(lease_ms)), replica) end

-- Returns the live replicas. Deletes the entries of replicas whose lease has expired.
local function alive()
    for _, replica in ipairs(redis.call('ZRANGEBYSCORE', replicas_key, '-inf', whole(now))) do
        redis.call('DEL', streams(replica), counts(replica), moved(replica), holders(replica))
        redis.call('ZREM', replicas_key, replica)
    end
    return redis.call('ZRANGE', replicas_key, 0, -1)
end

-- An engine's key is `pool/name`, its pool's key is `pool/`.
local function pool_of(engine) return engine:match('^[^/]*/') end

local function count(replica, engine, by)
    for _, key in ipairs({engine, pool_of(engine)}) do
        if redis.call('HINCRBY', counts(replica), key, by) <= 0 then redis.call('HDEL', counts(replica), key) end
    end
end

local function add_stream(replica, stream, engine)
    redis.call('HSET', streams(replica), stream, engine)
    count(replica, engine, 1)
end

-- Removes a stream from a replica. Returns its engine, or nil if the replica did not have it.
local function remove_stream(replica, stream)
    local engine = redis.call('HGET', streams(replica), stream)
    if not engine then return nil end
    redis.call('HDEL', streams(replica), stream)
    count(replica, engine, -1)
    return engine
end

local function unqueue_moved(replica, stream, engine) redis.call('LREM', moved(replica), 0, stream .. ' ' .. engine) end

local function queue_moved(replica, stream, engine) redis.call('RPUSH', moved(replica), stream .. ' ' .. engine) end

local function has(replica, key) return tonumber(redis.call('HGET', counts(replica), key) or 0) end

local function total(replicas, key)
    local sum = 0
    for _, replica in ipairs(replicas) do sum = sum + has(replica, key) end
    return sum
end
