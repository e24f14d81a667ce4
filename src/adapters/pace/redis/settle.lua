-- Sets the tokens of a place right, in either direction, as long as it is in the minute.
local minute, most_tokens, window, number, tokens = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local whole = function(value) return string.format('%.0f', value) end
local at, before = string.match(redis.call('HGET', minute, number) or '', '^(%d+) (%d+)$')
local time = redis.call('TIME')
if not at or tonumber(at) + window <= tonumber(time[1]) * 1000000 + tonumber(time[2]) then return end
local more = tokens - tonumber(before)
redis.call('HSET', minute, number, at .. ' ' .. whole(tokens))
redis.call('HINCRBY', minute, 'tokens', whole(more))
if most_tokens > 0 then
  redis.call('HINCRBY', minute, 'next_at', whole(math.floor(more * window / most_tokens)))
end
