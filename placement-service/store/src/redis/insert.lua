-- ARGV: id, limit or '', event, then field names and values of the session. Returns 1 if stored, 0 if the
-- account has reached its limit.
local id, limit, event = ARGV[1], ARGV[2], ARGV[3]
local row = {}
for i = 4, #ARGV, 2 do row[ARGV[i]] = ARGV[i + 1] end
if exists(session(id)) or redis.call('HEXISTS', refs, row.session_ref) == 1 then
    return redis.error_reply('BERTHTAKEN the id of a session is taken')
end
if limit ~= '' then
    local live = 0
    for _, other in ipairs(redis.call('ZRANGE', p .. 'account:' .. row.account, 0, -1)) do
        local over = redis.call('ZSCORE', ends, other)
        local lives = over and tonumber(over) > tonumber(row.created_at)
        if lives and redis.call('HEXISTS', session(other), 'parent') == 0 then live = live + 1 end
    end
    if live >= tonumber(limit) then return 0 end
end
redis.call('HSET', session(id), unpack(ARGV, 4))
redis.call('HSET', refs, row.session_ref, id)
redis.call('ZADD', ends, ending(row.last_seen_at, row.idle_timeout, row.absolute_expiry), id)
for _, key in ipairs(lists(id)) do redis.call('ZADD', key, row.created_at, id) end
log(event)
return 1
