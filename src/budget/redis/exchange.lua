-- Takes a node's statement about a budget. See Account::exchange.

local STALE_AFTER, RECALL_EVERY, STATED_FOR = 2000, 250, 60000

local time = clock()
local said = {
  inc = number(), seq = number(), sent = number(), from = word(), to = word(),
  written = number(), reserved = number(), kept = number(), unwritten = number(),
  need_min = number(), need_sum = number(), slice = number(), slice_min = number(),
  ends_after = number(), last = word() == '1', report = word() == '1',
}
local terms = read_terms()
local items = {}
for index = 1, number() do items[index] = { number(), number(), number() } end

local account = load()
if not account then return { 'seed', time } end

-- Time does not go back, whoever has become the master; a node's clock may be a little ahead.
local now = max(account[NOW], time)
for _, item in ipairs(items) do
  if item[1] <= time + STALE_AFTER then now = max(now, item[1]) end
end
account[NOW] = now
end_silent(account, time)

if time - said.sent > STALE_AFTER then
  store(account)
  return { 'stale', time }
end
local holder, is_known = holder_of(said.inc)
if not is_known then account[INCS][#account[INCS] + 1] = said.inc end
local held_by_others, reserved_by_others, kept_by_others, others_heard, others_busy = sums_of_others(account, holder)

local function answer(...)
  local reserved = holder[RESERVED] + holder[PENDING]
  put_holder(holder)
  put_sums(
    account, min(held_by_others + held_of(holder), EXACT), min(reserved_by_others + reserved, EXACT),
    min(kept_by_others + holder[KEPT], EXACT), others_heard + (holder[HEARD] and 1 or 0), others_busy + is_busy(holder)
  )
  if holder[ENDS] then account[SOONEST] = min(account[SOONEST] or holder[ENDS], holder[ENDS]) end
  store(account)
  return { ... }
end

if holder[CLOSED] then return answer('stale', time) end
if said.seq <= holder[SEQ] then return answer('old', time) end
holder[SEQ], holder[SEEN] = said.seq, time

local function same(window, other) return window[KIND] == other[KIND] and window[MODE] == other[MODE] end

-- Whether caps that carry no order allow no more than the ones in force.
local function no_more_than_ours()
  for _, ours in ipairs(account[TERMS]) do
    local less = false
    for _, theirs in ipairs(terms.windows) do
      less = less or (same(ours, theirs) and cap_at(theirs, now) <= cap_at(ours, now))
    end
    if not less then return false end
  end
  return true
end

-- The later caps win. Returns the stored ones when they are to replace the node's.
local function take_terms()
  local identical = terms.version == account[VERSION] and terms.body == account[BODY]
  if terms.version < account[VERSION] then return terms.body ~= account[BODY] end
  if not identical and terms.version == account[VERSION] then
    -- What has been over since one of them was read is all that can be different.
    if terms.version ~= 0 then return false end
    local others = account[STATED_BY] ~= said.inc and now - account[STATED_AT] < STATED_FOR
    if others and not no_more_than_ours() then return true end
  end
  account[STATED_BY], account[STATED_AT] = said.inc, now
  if identical then return false end
  local windows = {}
  for index, theirs in ipairs(terms.windows) do
    for _, window in ipairs(account[WINDOWS]) do
      if same(window, theirs) then
        window[SINCE] = theirs[SINCE]
        windows[index] = windows[index] or window
      end
    end
    windows[index] = windows[index] or unknown(theirs, terms.bounds[index])
  end
  for _, window in ipairs(account[WINDOWS]) do
    if not has(windows, window) then clear_slots(window) end
  end
  account[WINDOWS], account[TERMS] = windows, terms.windows
  account[VERSION], account[BODY] = terms.version, terms.body
  if not is_count(account) then account[RESEED] = true end
  return false
end

local ours_is_later = take_terms()

-- The bounds come from the node, whose caps may be older ones.
for _, window in ipairs(account[WINDOWS]) do
  local bounds = false
  for index, theirs in ipairs(terms.windows) do
    bounds = bounds or (same(window, theirs) and terms.bounds[index])
  end
  roll(window, bounds, now)
end

if holder[PLACE] ~= said.from then return answer('resend', time, holder[PLACE]) end

local sum = 0
for _, item in ipairs(items) do
  sum = min(sum + item[3], EXACT)
  for _, window in ipairs(account[WINDOWS]) do add(window, item[1], item[2], item[3], now) end
end

-- What is reserved is honoured, also as a debt; what is kept is never more than what was granted.
-- What was told before a seed and is told again was held meanwhile beside the rest.
local anew = sum > 0 and max(sum - holder[PENDING], 0) or sum
local before = min(holder[RESERVED] + holder[KEPT], EXACT) - anew
if has(account[JOIN], said.inc) then
  before = max(before, min(said.reserved + said.kept, EXACT))
  account[JOIN] = retain(account[JOIN], function(inc) return inc ~= said.inc end)
end
holder[PLACE], holder[RESERVED] = said.to, said.reserved
holder[KEPT] = max(min(said.kept, before - said.reserved), 0)
holder[WRITTEN], holder[UNWRITTEN], holder[PENDING], holder[HEARD] = said.written, said.unwritten, 0, true
holder[ENDS] = said.ends_after and time + said.ends_after

local held = min(held_by_others + held_of(holder), EXACT)
local counts, free, smallest, known = is_count(account), false, false, true
local caps = {}
for index, window in ipairs(account[WINDOWS]) do
  local cap = cap_at(account[TERMS][index], now)
  caps[index] = cap
  local left = max(cap - window[SPENT] - held, -EXACT)
  free = free and min(free, left) or left
  smallest = smallest and min(smallest, cap) or cap
  known = known and window[KNOWN]
end
free, smallest = free or 0, smallest or 0
if free < 0 then
  local cut = min(holder[KEPT], -free)
  holder[KEPT], free = holder[KEPT] - cut, free + cut
end

local nodes = max(others_heard + 1, 1)

-- Near the cap every node takes what it needs and no more; where there are few places for each node, always.
local function tight()
  local need = said.need_min
  if counts then
    if smallest < nodes * 4 then return true end
    need = max(need, 1)
  end
  return free < max(floor(smallest / 100), min(need * 2 * nodes, EXACT))
end

local settling = #account[JOIN] > 0 and now < account[SETTLES]
local granted, left = 0, max(free, 0)
if said.need_sum > 0 and not settling and known then
  local unhurried = tight() and 0 or max(min(said.slice, floor(left / (nodes * 2))), said.slice_min)
  granted = min(max(said.need_sum, unhurried), left)
  if granted < said.need_min then granted = 0 end
end
free, holder[KEPT] = free - granted, holder[KEPT] + granted

local denied = said.need_min > 0 and granted == 0
local recallable = 0
if denied and now - account[RECALLED] > RECALL_EVERY then recallable = kept_by_others end
if recallable > 0 then account[RECALLED] = now end

-- When a cap next falls, and when time alone next changes what is free.
local falls, changes = false, false
local function sooner(one, other) return one and min(one, other) or other end
local started = false
for index, window in ipairs(account[WINDOWS]) do
  local steps = account[TERMS][index][CAPS]
  for step = 1, #steps - 1, 2 do
    if steps[step] > now then
      changes = sooner(changes, steps[step])
      if step > 1 and steps[step + 1] < steps[step - 1] then falls = sooner(falls, steps[step]) end
    end
  end
  local mode = window[MODE]
  local over = window[END]
  if mode == ROLLING then over = window[FIRST] and leaves(window, window[FIRST]) end
  if mode == FROM_FIRST and not window[START] then over = false end
  if over and over > now then changes = sooner(changes, over) end
  if mode == FROM_FIRST and window[START] then started = started or window[START] end
end

local windows = {}
if denied or said.report then
  local held_now = min(held_by_others + held_of(holder), EXACT)
  local reserved = min(reserved_by_others + holder[RESERVED] + holder[PENDING], EXACT)
  for index, window in ipairs(account[WINDOWS]) do
    local gone, leaving = 0, {}
    if window[MODE] == ROLLING then
      for _, slot in ipairs(all_slots(window)) do
        gone = min(gone + slot[2], EXACT)
        leaving[#leaving + 1], leaving[#leaving + 2] = leaves(window, slot[1]), gone
      end
    end
    local is_begun = begun(window)
    windows[index] = {
      window[KIND], caps[index], window[SPENT], held_now, reserved,
      is_begun and window[START], is_begun and window[END], leaving,
    }
  end
end

local is_tight = tight()
-- A node that forgets the budget leaves nothing behind but its position.
if said.last and holder[RESERVED] == 0 and holder[KEPT] == 0 then
  holder[UNWRITTEN], holder[HEARD] = 0, false
end

local function flag(yes) return yes and 1 or 0 end
-- Whoever is granted money of a day that a node ahead of this clock has begun dates what it pays for in that day.
return answer(
  'ok', now, holder[KEPT], granted, free, flag(is_tight), flag(settling), recallable, falls, changes,
  ours_is_later and account[VERSION], ours_is_later and account[BODY],
  started, flag(account[RESEED]), flag(not known), windows
)
