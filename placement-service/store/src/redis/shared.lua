-- The prelude of every script: key names, and steps that several scripts share.
local p = KEYS[1] .. ':'
local ends, refs = p .. 'ends', p .. 'refs'

-- Formats an integer; Lua alone would write 1.7e+12.
local function whole(number) return string.format('%.0f', number) end

-- The clock of this server, in milliseconds since the Unix epoch.
local function time_ms()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function session(id) return p .. 'session:' .. id end
local function children(id) return p .. 'children:' .. id end
local function exists(key) return redis.call('EXISTS', key) == 1 end

local function log(event)
    local number = whole(redis.call('INCR', p .. 'sequence'))
    redis.call('XADD', p .. 'events', number .. '-0', 'event', event)
end

-- The sorted sets that contain a session.
local function lists(id)
    local f = redis.call('HMGET', session(id), 'account', 'parent', 'provider', 'provider_subject', 'provider_session')
    local keys = {p .. 'account:' .. f[1]}
    if f[2] then keys[#keys + 1] = children(f[2]) end
    if f[3] then
        keys[#keys + 1] = p .. 'subject:' .. f[3] .. '\0' .. f[4]
        if f[5] then keys[#keys + 1] = p .. 'sid:' .. f[3] .. '\0' .. f[5] end
    end
    return keys
end

-- When a session expires without further activity.
local function ending(last_seen_at, idle_timeout, absolute_expiry)
    return whole(math.min(last_seen_at + idle_timeout, absolute_expiry))
end
