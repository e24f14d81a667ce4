-- Gives no place for so long; a shorter pause does not end a longer one.
local minute, pause, window = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local until_then = math.max(now + pause, tonumber(redis.call('HGET', minute, 'paused') or 0))
redis.call('HSET', minute, 'paused', string.format('%.0f', until_then))
local expires = math.max(redis.call('PTTL', minute), math.ceil((until_then - now + 2 * window) / 1000))
redis.call('PEXPIRE', minute, expires)
