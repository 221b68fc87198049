-- ARGV: a cursor and the number of sessions to inspect. Returns the next cursor, and pairs of an id and its fields
-- of those child sessions whose parent has no hash, removed by anyone: Berth, an eviction or an operator.
local part = redis.call('ZSCAN', ends, ARGV[1], 'COUNT', ARGV[2])
local found = {}
for i = 1, #part[2], 2 do
    local id = part[2][i]
    local parent = redis.call('HGET', session(id), 'parent')
    if parent and not exists(session(parent)) then
        found[#found + 1] = {id, redis.call('HGETALL', session(id))}
    end
end
return {part[1], found}
