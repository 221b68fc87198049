-- The prelude of the scripts of affinity records. A record is live while it is not released and expires_at is in the
-- future of this server's clock.
local expiry, now = p .. 'affinity-expiry', time_ms()
-- The fields that only a held record has.
local engine_fields = {'engine', 'api', 'stream', 'incarnation', 'headers'}

local function record(id) return p .. 'affinity:' .. id end
local function of_owner(kind, owner) return p .. 'affinity-owner:' .. kind .. ':' .. owner end
local function of_pool(kind, pool) return p .. 'affinity-engines:' .. kind .. ':' .. pool end

local function is_live(state, expires_at)
    return state and state ~= 'released' and tonumber(expires_at) > now
end

local function set_expiry(id, at)
    redis.call('HSET', record(id), 'expires_at', whole(at))
    redis.call('ZADD', expiry, whole(at), id)
end

-- Takes the record away from its engine.
local function remove_engine(id)
    local f = redis.call('HMGET', record(id), 'kind', 'pool', 'engine')
    if f[3] then
        redis.call('ZREM', of_pool(f[1], f[2]), f[3] .. '\0' .. id)
        redis.call('HDEL', record(id), unpack(engine_fields))
    end
end

-- ARGV[from] and later: pairs of a name and a value. Gives the record an engine.
local function set_engine(id, kind, pool, from)
    redis.call('HSET', record(id), unpack(ARGV, from))
    local engine = redis.call('HGET', record(id), 'engine')
    redis.call('ZADD', of_pool(kind, pool), 0, engine .. '\0' .. id)
end

local function remove(id)
    remove_engine(id)
    local f = redis.call('HMGET', record(id), 'kind', 'owner')
    if f[2] then redis.call('SREM', of_owner(f[1], f[2]), id) end
    redis.call('ZREM', expiry, id)
    redis.call('DEL', record(id))
end
