-- ARGV: for each session its id, the time by which it must have expired or '', and its event. Returns the ids
-- of the sessions that existed.
local gone = {}
for i = 1, #ARGV, 3 do
    local id, over_at, event = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    local over = tonumber(redis.call('ZSCORE', ends, id) or 0)
    if exists(session(id)) and (over_at == '' or over <= tonumber(over_at)) then
        local session_ref = redis.call('HGET', session(id), 'session_ref')
        for _, key in ipairs(lists(id)) do redis.call('ZREM', key, id) end
        redis.call('HDEL', refs, session_ref)
        redis.call('ZREM', ends, id)
        redis.call('DEL', session(id))
        log(event)
        gone[#gone + 1] = id
    end
end
return gone
