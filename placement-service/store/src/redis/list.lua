-- ARGV: limit, then 'list' and the name of a list, or 'over' and a time. Returns pairs of an id and its fields.
local limit, kind, what = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local found = {}

local function take(key, id)
    local row = redis.call('HGETALL', session(id))
    if #row > 0 then
        found[#found + 1] = {id, row}
    else
        -- The session's hash is missing: Redis evicted it or an operator deleted it.
        redis.call('ZREM', key, id)
    end
end

local ids
repeat
    local rest = limit - #found
    if kind == 'over' then
        ids = redis.call('ZRANGEBYSCORE', ends, '-inf', what, 'LIMIT', #found, rest)
        for _, id in ipairs(ids) do take(ends, id) end
    else
        ids = redis.call('ZRANGE', p .. what, #found, limit - 1)
        for _, id in ipairs(ids) do take(p .. what, id) end
    end
until #ids == 0 or #found >= limit
return found
