-- ARGV: for each session its id and a time. Moves times forward only, and only of sessions that exist.
for i = 1, #ARGV, 2 do
    local id, at = ARGV[i], ARGV[i + 1]
    local f = redis.call('HMGET', session(id), 'last_seen_at', 'idle_timeout', 'absolute_expiry')
    if f[1] and tonumber(f[1]) < tonumber(at) then
        redis.call('HSET', session(id), 'last_seen_at', at)
        redis.call('ZADD', ends, ending(at, f[2], f[3]), id)
    end
end
