-- Since when, in Unix milliseconds, a partition has not been flushed; from now on when it has just been. Never expires.

local AHEAD = 2000

local time = redis.call('TIME')
local now = tonumber(ARGV[1]) or (time[1] * 1000 + math.floor(time[2] / 1000))
local born = tonumber(redis.call('GET', KEYS[1]) or '')
-- It cannot have been later than now: whoever has written that, nothing is known of what was before.
if not born or born ~= math.floor(born) or born > now + AHEAD then
  born = now
  redis.call('SET', KEYS[1], string.format('%.0f', born))
end
return { string.format('%.0f', born), string.format('%.0f', now) }
