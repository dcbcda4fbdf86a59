-- Since when, in Unix milliseconds, a partition has not been flushed; from now on when it has just been. Never expires.

local born = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000)))
if not born then
  born = now
  redis.call('SET', KEYS[1], born)
end
return { born, now }
