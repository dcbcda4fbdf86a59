-- One budget as nodes lease from it, for the scripts that take a statement, a seed, a closing or a question about it.
--
-- It does what src/budget/account does in memory: the same statements get the same answers. One hash holds it: `a` is its
-- state, what a node holds is a field of its own (`n:<inc>`), and so is each slot of a rolling window
-- (`<window>:<start>`): a question reads the node that asks, the sums of the others, and no slots. What it reads is one
-- number after the other, because that is read and written faster than lists in lists; what it seldom needs is a text.
-- Every number is a whole one that a double holds exactly; what could grow beyond stops there.

local key = KEYS[1]
local EXACT = 9007199254740991
local FORGOTTEN_AFTER, STALE_AFTER, AHEAD = 600000, 2000, 5000
local MINUTE, SECOND, FIVE_HOURS, DAY = 60000, 1000, 18000000, 86400000

-- The state. INCS, JOIN and TERMS are lists, or such texts.
local VERSION, BODY, NOW, SEEDED, RECALLED, SETTLES, JOIN, RESEED, TERMS, WINDOWS, STATED_AT, STATED_BY =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
-- The nodes, and what they hold together: ALL_HELD is false when it is more than can be said exactly. BUSY counts those that
-- hold anything or have not written something, SOONEST is false or no later than what of any of them ends first.
local INCS, ALL_HELD, ALL_RESERVED, ALL_KEPT, ALL_HEARD, BUSY, SOONEST = 13, 14, 15, 16, 17, 18, 19
-- The caps of a window; the first three are also those of the window itself.
local KIND, MODE, SINCE, CAPS = 1, 2, 3, 4
-- What was spent in it. START and FIRST are false when there is none, END when it never comes.
-- CAP is false where there are several steps.
local KNOWN, START, END, AFTER, SPENT, FIRST, LAST, CAP = 4, 5, 6, 7, 8, 9, 10, 11
-- What a node holds. ENDS is false for money.
local INC, SEQ, PLACE, RESERVED, KEPT, WRITTEN, UNWRITTEN, PENDING, CLOSED, HEARD, ENDS, SEEN =
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12

-- Windows and modes by their numbers in src/budget/redis/wire.rs.
local FIVE, DAILY, PER_MINUTE, AT_ONCE = 1, 2, 5, 6
local FOREVER, ROLLING, FROM_FIRST = -1, -2, -3 -- any other mode follows the calendar

-- The text of an empty list.
local NOBODY = '\144'

local min, max, floor = math.min, math.max, math.floor

local function text(number) return string.format('%.0f', number) end

-- Arguments are read one after the other.
local at = 0
local function word()
  at = at + 1
  return ARGV[at]
end
-- False for an empty one.
local function number() return tonumber(word()) or false end

-- Unix milliseconds; tests bring their own.
local function clock()
  local given = number()
  if given then return given end
  local time = redis.call('TIME')
  return time[1] * 1000 + floor(time[2] / 1000)
end

-- Caps as a node knows them: version, all else as bytes, what of that is needed here, and where its calendar windows are.
local function read_terms()
  local terms = { version = number(), body = word(), windows = {}, bounds = {} }
  for index = 1, number() do
    local window = { number(), number(), number(), {} }
    for step = 1, 2 * number() do window[CAPS][step] = number() end
    local start, stop, next_stop = number(), number(), number()
    terms.windows[index] = window
    terms.bounds[index] = start and { start, stop, next_stop }
  end
  return terms
end

-- The budget of these numbers.
local function unpacked(packed)
  local account = { cmsgpack.unpack(packed) }
  local count = account[WINDOWS]
  if type(count) ~= 'number' or #account ~= SOONEST + count * CAP then error('this is not a budget') end
  local windows = {}
  for index = 1, count do
    local last = SOONEST + index * CAP
    windows[index] = { unpack(account, last - CAP + 1, last) }
  end
  account[WINDOWS] = windows
  return account
end

local function text_of(list) return type(list) == 'string' and list or cmsgpack.pack(list) end

local function packed(account)
  local windows, incs, join, terms = account[WINDOWS], account[INCS], account[JOIN], account[TERMS]
  account[WINDOWS], account[INCS], account[JOIN], account[TERMS] = #windows, text_of(incs), text_of(join), text_of(terms)
  local texts = { cmsgpack.pack(unpack(account, 1, SOONEST)) }
  for index = 1, #windows do texts[index + 1] = cmsgpack.pack(unpack(windows[index], 1, CAP)) end
  account[WINDOWS], account[INCS], account[JOIN], account[TERMS] = windows, incs, join, terms
  return table.concat(texts)
end

-- INCS, JOIN or TERMS.
local function list(account, index)
  if type(account[index]) == 'string' then account[index] = cmsgpack.unpack(account[index]) end
  return account[index]
end

local function load()
  local text = redis.call('HGET', key, 'a')
  return text and unpacked(text)
end

-- What nobody holds anything of is forgotten after ten minutes: the ledger knows it.
local function store(account)
  redis.call('HSET', key, 'a', packed(account))
  if account[BUSY] == 0 then redis.call('PEXPIRE', key, FORGOTTEN_AFTER) else redis.call('PERSIST', key) end
end

local function is_calendar(mode) return mode >= 0 end

local function is_count(account)
  for _, window in ipairs(account[WINDOWS]) do
    if window[KIND] == PER_MINUTE or window[KIND] == AT_ONCE then return true end
  end
  return false
end

local function cap_at(terms, now)
  local caps = terms[CAPS]
  for step = #caps - 1, 1, -2 do
    if caps[step] <= now then return caps[step + 1] end
  end
  return caps[2]
end

local function node_field(inc) return 'n:' .. text(inc) end

-- What a node holds; nothing when it has never spoken of this budget.
local function holder_of(inc)
  local text = redis.call('HGET', key, node_field(inc))
  if text then return { cmsgpack.unpack(text) }, true end
  return { inc, 0, 'M0:0', 0, 0, 0, 0, 0, false, false, false, 0 }, false
end

local function all_holders(account)
  local holders = {}
  for index, inc in ipairs(list(account, INCS)) do holders[index] = holder_of(inc) end
  return holders
end

local function put_holder(holder)
  redis.call('HSET', key, node_field(holder[INC]), cmsgpack.pack(unpack(holder)))
end

local function held_of(holder) return holder[RESERVED] + holder[KEPT] + holder[PENDING] end
local function is_busy(holder) return (held_of(holder) ~= 0 or holder[UNWRITTEN] ~= 0) and 1 or 0 end

-- What these hold together, no more than can be said exactly: held, reserved, kept, how many were heard, and are busy.
local function sums(holders)
  local held, reserved, kept, heard, busy = 0, 0, 0, 0, 0
  for _, holder in ipairs(holders) do
    held = min(held + held_of(holder), EXACT)
    reserved = min(reserved + holder[RESERVED] + holder[PENDING], EXACT)
    kept = min(kept + holder[KEPT], EXACT)
    heard = heard + (holder[HEARD] and 1 or 0)
    busy = busy + is_busy(holder)
  end
  return held, reserved, kept, heard, busy
end

local function put_sums(account, held, reserved, kept, heard, busy)
  account[ALL_HELD] = held < EXACT and held
  account[ALL_RESERVED], account[ALL_KEPT], account[ALL_HEARD], account[BUSY] = reserved, kept, heard, busy
end

-- Replaces all nodes.
local function put_holders(account, holders)
  for _, inc in ipairs(list(account, INCS)) do redis.call('HDEL', key, node_field(inc)) end
  account[INCS], account[SOONEST] = {}, false
  for index, holder in ipairs(holders) do
    account[INCS][index] = holder[INC]
    if holder[ENDS] then account[SOONEST] = min(account[SOONEST] or holder[ENDS], holder[ENDS]) end
    put_holder(holder)
  end
  put_sums(account, sums(holders))
end

local function has(list, wanted)
  for _, value in ipairs(list) do
    if value == wanted then return true end
  end
  return false
end

local function retain(list, keep)
  local kept = {}
  for _, value in ipairs(list) do
    if keep(value) then kept[#kept + 1] = value end
  end
  return kept
end

-- What all nodes but this one hold together, as `sums`.
local function sums_of_others(account, holder)
  if not account[ALL_HELD] then
    return sums(retain(all_holders(account), function(other) return other[INC] ~= holder[INC] end))
  end
  return account[ALL_HELD] - held_of(holder), account[ALL_RESERVED] - holder[RESERVED] - holder[PENDING],
    account[ALL_KEPT] - holder[KEPT], account[ALL_HEARD] - (holder[HEARD] and 1 or 0), account[BUSY] - is_busy(holder)
end

-- Of counts, what a node held that was not heard of for too long has ended.
local function end_silent(account, now)
  if account[SOONEST] and account[SOONEST] <= now then
    put_holders(account, retain(all_holders(account), function(holder) return not holder[ENDS] or holder[ENDS] > now end))
  end
end

-- Where the slot of this width starts that an instant is in.
local function slot_at(instant, width) return floor(instant / width) * width end

-- How long a rolling window is, and its slots.
local function rolling(kind)
  if kind == FIVE then return FIVE_HOURS, MINUTE end
  if kind == DAILY then return DAY, 5 * MINUTE end
  return MINUTE - SECOND, SECOND
end

local function leaves(window, slot)
  local length, width = rolling(window[KIND])
  return slot + width + length
end

local function field(window, slot) return text(window[KIND]) .. ':' .. text(slot) end

-- The slots from one to another that there are, with their sums, in order.
local function slots(window, from, to)
  local _, width = rolling(window[KIND])
  local found = {}
  while from <= to do
    local starts, names = {}, {}
    while from <= to and #names < 100 do
      starts[#starts + 1], names[#names + 1] = from, field(window, from)
      from = from + width
    end
    for index, sum in ipairs(redis.call('HMGET', key, unpack(names))) do
      if sum then found[#found + 1] = { starts[index], tonumber(sum), names[index] } end
    end
  end
  return found
end

local function all_slots(window)
  if not window[FIRST] then return {} end
  return slots(window, window[FIRST], window[LAST])
end

local function clear_slots(window)
  if window[MODE] ~= ROLLING then return end
  for _, slot in ipairs(all_slots(window)) do redis.call('HDEL', key, slot[3]) end
end

local function spend(window, amount)
  local spent = window[SPENT] + amount
  if spent > EXACT then spent = EXACT elseif spent < -EXACT then spent = -EXACT end
  window[SPENT] = spent
end

-- But for what has left by now.
local function add_to_slot(window, minute, amount, now)
  local length, width = rolling(window[KIND])
  local slot = slot_at(minute, width)
  if slot + width + length <= now then return end
  local name = field(window, slot)
  if redis.call('HINCRBY', key, name, text(amount)) > EXACT then redis.call('HSET', key, name, text(EXACT)) end
  local first, last = window[FIRST], window[LAST]
  if not first or slot < first then window[FIRST] = slot end
  if not last or slot > last then window[LAST] = slot end
  spend(window, amount)
end

local function begin(window, start)
  window[START], window[END], window[SPENT] = start, start + FIVE_HOURS, 0
end

-- A charge before the window belongs to an earlier one; nodes whose first charges cross on their way may be a minute
-- apart.
local function add_from_first(window, minute, amount)
  if amount <= 0 and not window[START] then return end
  if not window[START] or minute >= window[END] then
    if minute < window[END] then return end
    window[AFTER] = window[END]
    begin(window, minute)
  elseif minute < window[START] then
    if window[START] - minute > MINUTE or minute < window[AFTER] then return end
    local spent = window[SPENT]
    begin(window, minute)
    window[SPENT] = spent
  end
  spend(window, amount)
end

-- Lets go of what is over.
local function roll(window, bounds, now)
  local mode = window[MODE]
  if mode == FOREVER then return end
  if mode == ROLLING then
    local length, width = rolling(window[KIND])
    if not window[FIRST] or leaves(window, window[FIRST]) > now then return end
    local over = min(slot_at(now - length - width, width), window[LAST])
    for _, slot in ipairs(slots(window, window[FIRST], over)) do
      spend(window, -slot[2])
      redis.call('HDEL', key, slot[3])
    end
    window[FIRST] = false
    -- The next one is rarely far.
    local from = over + width
    while not window[FIRST] and from <= window[LAST] do
      local to = min(from + 20 * width, window[LAST])
      local next_slot = slots(window, from, to)[1]
      window[FIRST], from = next_slot and next_slot[1], to + width
    end
    window[FIRST] = window[FIRST] or false
    if not window[FIRST] then window[LAST] = false end
  elseif mode == FROM_FIRST then
    if window[START] and now >= window[END] then window[START], window[SPENT] = false, 0 end
  elseif bounds and window[END] then
    while now >= window[END] do
      local start, stop = bounds[1], bounds[2]
      if start < window[END] then start, stop = bounds[2], bounds[3] end
      if start < window[END] or stop <= window[END] then return end
      window[START], window[END], window[SPENT] = start, stop, 0
    end
  end
end

local function add(window, minute, era, amount, now)
  if era < window[SINCE] then return end
  local mode = window[MODE]
  if mode == FOREVER then
    spend(window, amount)
  elseif mode == ROLLING then
    add_to_slot(window, minute, amount, now)
  elseif mode == FROM_FIRST then
    add_from_first(window, minute, amount)
    roll(window, false, now)
  elseif not window[START] or minute >= window[START] then
    spend(window, amount)
  end
end

-- A window of which nothing is known.
local function unknown(terms, bounds)
  local cap = #terms[CAPS] == 2 and terms[CAPS][2]
  local window = { terms[KIND], terms[MODE], terms[SINCE], false, false, false, 0, 0, false, false, cap }
  if terms[MODE] == FROM_FIRST then
    window[END] = 0
  elseif is_calendar(terms[MODE]) and bounds then
    window[START], window[END] = bounds[1], bounds[2]
  end
  return window
end

local function begun(window)
  return window[START] and (is_calendar(window[MODE]) or window[MODE] == FROM_FIRST)
end
