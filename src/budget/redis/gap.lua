-- Marks a budget that is not there, so that a seed can tell whether it was flushed meanwhile. Returns the mark; nothing
-- when the budget is there.

if redis.call('HEXISTS', KEYS[1], 'a') == 1 then return false end
local gap = redis.call('HGET', KEYS[1], 'gap')
if not gap then
  local time = redis.call('TIME')
  gap = time[1] .. '.' .. time[2]
  redis.call('HSET', KEYS[1], 'gap', gap)
  redis.call('PEXPIRE', KEYS[1], 60000)
end
return gap
