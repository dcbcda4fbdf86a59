-- Writes down what is known of a circuit, unless something is written that holds against it, and tells it to all who
-- listen. A hash for each provider: a word for each circuit, and when all were last closed by hand.
--
-- KEYS[1] the provider. ARGV: the circuit, the word, milliseconds for which it is to be remembered, how many circuits there
-- may be, the channel, the message. Returns whether it was told.

local RESET, AHEAD = 'reset', 5000
local key, circuit, lives = KEYS[1], ARGV[1], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function read(text)
  local is_json, word = pcall(cjson.decode, text)
  return is_json and type(word) == 'table' and type(word.at) == 'number' and word or nil
end

local function is_open(word) return word.open and (not word['until'] or word['until'] > now) end

-- As Word::is_after has it.
local function is_after(a, b)
  if a.at ~= b.at then return a.at > b.at end
  if a.open ~= b.open then return a.open end
  local forever = math.huge
  if (a['until'] or forever) ~= (b['until'] or forever) then return (a['until'] or forever) > (b['until'] or forever) end
  return a.firm and not b.firm
end

local function remember()
  if redis.call('PTTL', key) < lives then redis.call('PEXPIRE', key, lives) end
end

-- Makes room: what is over says nothing to a node that starts.
local function forget(which)
  local all = redis.call('HGETALL', key)
  for at = 1, #all, 2 do
    local word = all[at] ~= RESET and read(all[at + 1])
    if all[at] ~= RESET and (not word or which(word)) then redis.call('HDEL', key, all[at]) end
  end
end

local new = read(ARGV[2])
if not new or new.at > now + AHEAD then return 0 end
local reset = tonumber(redis.call('HGET', key, RESET) or '') or 0
if new.at <= reset then return 0 end
if circuit == RESET then
  forget(function(word) return word.at <= new.at end)
  redis.call('HSET', key, RESET, string.format('%.0f', new.at))
else
  local old = redis.call('HGET', key, circuit)
  old = old and read(old)
  if old then
    local is_by_hand = new.reason == 'by_hand'
    local was_by_hand = old.reason == 'by_hand' and is_open(old)
    local holds = is_after(new, old) and (is_by_hand or not was_by_hand)
    if not holds and not (is_by_hand and is_open(new) and not was_by_hand) then
      if new.at == old.at then remember() end
      return 0
    end
  elseif redis.call('HLEN', key) > tonumber(ARGV[4]) then
    forget(function(word) return not is_open(word) end)
  end
  if redis.call('HLEN', key) <= tonumber(ARGV[4]) then redis.call('HSET', key, circuit, ARGV[2]) end
end
remember()
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
