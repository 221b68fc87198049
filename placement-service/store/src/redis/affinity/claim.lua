-- ARGV: id, owner or '', pool, claimer, duration of the claim, limit or '', longest duration of any claim. Returns the
-- result, a number and the fields of a held record.
local id, owner, pool, claimer = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local f = redis.call('HMGET', record(id), 'state', 'epoch', 'expires_at')
local state, epoch, expires_at = f[1], tonumber(f[2] or now - 1), tonumber(f[3] or 0)
if is_live(state, expires_at) then
    if state == 'held' then return {'held', '0', redis.call('HGETALL', record(id))} end
    -- A claim that lasts longer than any may is of a clock that was ahead.
    if expires_at <= now + tonumber(ARGV[7]) then return {'preparing', whole(expires_at - now), {}} end
end
if owner ~= '' and ARGV[6] ~= '' then
    local others = 0
    for _, other in ipairs(redis.call('SMEMBERS', of_owner('key', owner))) do
        local o = redis.call('HMGET', record(other), 'state', 'expires_at')
        if other ~= id and is_live(o[1], o[2]) then others = others + 1 end
    end
    if others >= tonumber(ARGV[6]) then return {'limit', '0', {}} end
end
remove(id)
redis.call('HSET', record(id), 'kind', 'key', 'pool', pool, 'epoch', whole(epoch + 1), 'state', 'preparing',
    'claimer', claimer, 'created_at', whole(now), 'last_active_at', whole(now), 'idle_timeout', '0')
if owner ~= '' then
    redis.call('HSET', record(id), 'owner', owner)
    redis.call('SADD', of_owner('key', owner), id)
end
set_expiry(id, now + tonumber(ARGV[5]))
return {'claimed', whole(epoch + 1), {}}
