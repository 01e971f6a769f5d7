"""What is done on the server in one step. Each script's first answer is the server's time.

A partition is a hash of its items and, beside it, a sorted set of their keys, whose order is that of the bytes.
"""

# KEYS: hash and set of each span. ARGV: first, last, limit (-1: none), backwards, bare, for each.
READ = """
local time, found = redis.call('TIME'), {}
for i = 1, #KEYS / 2 do
    local first, last, limit, backwards, bare = unpack(ARGV, i * 5 - 4, i * 5)
    local low, high, keys = '[' .. first, '(' .. last, nil
    if backwards == '1' then
        keys = redis.call('ZREVRANGEBYLEX', KEYS[i * 2], high, low, 'LIMIT', 0, limit)
    else
        keys = redis.call('ZRANGEBYLEX', KEYS[i * 2], low, high, 'LIMIT', 0, limit)
    end
    local items = {}
    if bare == '0' then
        for start = 1, #keys, 1000 do
            local some = redis.call('HMGET', KEYS[i * 2 - 1], unpack(keys, start, math.min(start + 999, #keys)))
            for _, item in ipairs(some) do items[#items + 1] = item end
        end
    end
    found[i] = {keys, items}
end
return {time, found}
"""

# KEYS: hash of each. ARGV: key of each.
GET = """
local found = {}
for i, hash in ipairs(KEYS) do found[i] = redis.call('HGET', hash, ARGV[i]) end
return {redis.call('TIME'), found}
"""

# KEYS: the counter, then hash and set of each expectation, put, drop and clearing. ARGV: how many of each, whether to
# announce, then key, `=` (these bytes), `+` (any) or `-` (none) and bytes of each expectation; key and bytes of each
# put; the key of each drop. Answer: the number of the first expectation that does not hold, or 0.
CHANGE = """
local expects, puts, drops, announce = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[5]
local k, a = 2, 6
for i = 1, expects do
    local found = redis.call('HGET', KEYS[k], ARGV[a])
    if ARGV[a + 1] == '=' then
        if found ~= ARGV[a + 2] then return {redis.call('TIME'), i} end
    elseif (ARGV[a + 1] == '+') ~= (found ~= false) then
        return {redis.call('TIME'), i}
    end
    k, a = k + 2, a + 3
end
local clears = k + 2 * (puts + drops)
while KEYS[clears] do
    redis.call('UNLINK', KEYS[clears], KEYS[clears + 1])
    clears = clears + 2
end
for i = 1, puts do
    redis.call('HSET', KEYS[k], ARGV[a], ARGV[a + 1])
    redis.call('ZADD', KEYS[k + 1], 0, ARGV[a])
    k, a = k + 2, a + 2
end
for i = 1, drops do
    redis.call('HDEL', KEYS[k], ARGV[a])
    redis.call('ZREM', KEYS[k + 1], ARGV[a])
    k, a = k + 2, a + 1
end
if announce == '1' then redis.call('INCR', KEYS[1]) end
return {redis.call('TIME'), 0}
"""
