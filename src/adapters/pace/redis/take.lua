-- Takes a place in a provider's minute, or says how long to wait. Gives {1, number of the place, processes} or
-- {0, microseconds, processes}. All numbers are whole and below 2^53, where Lua's are exact.
local most_requests, most_tokens, most_calls = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window, slack, lease, busy = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local process, call, wanted, is_told = ARGV[8], ARGV[9], tonumber(ARGV[10]), ARGV[11] == '1'
local minute, who, calls = KEYS[1], KEYS[2], KEYS[3]
local whole = function(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local kept = redis.call('HMGET', minute, 'first', 'next', 'tokens', 'next_at', 'paused', 'last')
if kept[6] and now < tonumber(kept[6]) - window then
  -- a clock that was set back by more than a window would have to be caught up
  redis.call('DEL', minute, who, calls)
  kept = {}
end
now = math.max(now, tonumber(kept[6] or 0))
-- numbers begin with the time, so that those of a minute that was forgotten never come again
local first = tonumber(kept[1] or now)
local next, tokens = tonumber(kept[2] or first), tonumber(kept[3] or 0)
local next_at, paused = tonumber(kept[4] or now), tonumber(kept[5] or 0)
local place = function(number)
  local at, taken = string.match(redis.call('HGET', minute, whole(number)) or '0 0', '^(%d+) (%d+)$')
  return tonumber(at), tonumber(taken)
end

while first < next do
  local at, taken = place(first)
  if at + window > now then break end
  redis.call('HDEL', minute, whole(first))
  first, tokens = first + 1, tokens - taken
end
redis.call('ZREMRANGEBYSCORE', who, '-inf', whole(now - window))
redis.call('ZADD', who, whole(now), process)
redis.call('PEXPIRE', who, math.ceil(window / 1000))
local processes = redis.call('ZCARD', who)

local ready_at = math.max(next_at, paused)
local over = next - first - most_requests
if most_requests > 0 and over >= 0 then
  ready_at = math.max(ready_at, (place(first + over)) + window)
end
over = tokens + wanted - most_tokens
local number = first
while most_tokens > 0 and over > 0 and number < next do
  local at, taken = place(number)
  ready_at = math.max(ready_at, at + window)
  number, over = number + 1, over - taken
end
local wait = math.max(0, ready_at - now)
if wait == 0 and most_calls > 0 and not is_told then
  redis.call('ZREMRANGEBYSCORE', calls, '-inf', whole(now))
  if redis.call('ZCARD', calls) >= most_calls then wait = busy end
end

local is_taken = is_told or wait == 0
local answer = {0, math.ceil(wait), processes}
if is_taken then
  local by_requests = most_requests > 0 and window / most_requests or 0
  local by_tokens = most_tokens > 0 and wanted * window / most_tokens or 0
  next_at = math.max(next_at, now - slack) + math.max(by_requests, by_tokens)
  redis.call('HSET', minute, whole(next), whole(now) .. ' ' .. whole(wanted))
  answer = {1, next, processes}
  next, tokens = next + 1, tokens + wanted
  if most_calls > 0 then
    redis.call('ZADD', calls, whole(now + lease), call)
    redis.call('PEXPIRE', calls, math.ceil(lease / 1000))
  end
end
redis.call('HSET', minute, 'first', whole(first), 'next', whole(next), 'tokens', whole(tokens), 'next_at', whole(next_at),
  'paused', whole(paused), 'last', whole(now))
redis.call('PEXPIRE', minute, math.ceil((math.max(next_at, paused) - now + 2 * window) / 1000))
return answer
