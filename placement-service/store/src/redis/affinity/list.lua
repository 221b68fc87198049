-- ARGV: kind, pool, the smallest and the largest member, limit. Returns pairs of an id and its fields.
local key, from, to, limit = of_pool(ARGV[1], ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local found = {}
repeat
    local members = redis.call('ZRANGEBYLEX', key, from, to, 'LIMIT', 0, limit - #found)
    for _, member in ipairs(members) do
        local id = member:match('%z(.*)$')
        local row = redis.call('HGETALL', record(id))
        if #row > 0 then
            found[#found + 1] = {id, row}
        else
            -- The record's hash is missing: Redis evicted it or an operator deleted it.
            redis.call('ZREM', key, member)
        end
        from = '(' .. member
    end
until #members == 0 or #found >= limit
return found
