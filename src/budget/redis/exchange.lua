-- Takes a node's statement about a budget. See Account::exchange.

local RECALL_EVERY, STATED_FOR = 250, 60000

-- What is said, by its place (see Arguments::statement): 1 the time of a test, 2 inc, 3 seq, 4 sent, 5 from, 6 to,
-- 7 written, 8 reserved, 9 kept, 10 unwritten, 11 need_min, 12 need_sum, 13 slice, 14 slice_min, 15 ends_after, 16 last,
-- 17 report, 18 version, 19 body, 20 how many windows; of each window kind, mode, since, how many steps, the steps
-- (from, cap), start, end, next end; how many items; of each item minute, era, amount.
local ARGS, num = ARGV, tonumber
local time = clock()
local inc, seq, from, to = num(ARGS[2]), num(ARGS[3]), ARGS[5], ARGS[6]
local said_reserved, said_kept = num(ARGS[8]), num(ARGS[9])
local need_min, need_sum, slice, slice_min = num(ARGS[11]), num(ARGS[12]), num(ARGS[13]), num(ARGS[14])
-- Version and body of the caps, and how many windows they are for. They are read only if they are not the ones in force;
-- of each window this is where it says when it starts and ends.
local VERSION_AT, BODY_AT, COUNT_AT = 18, 19, 20
local bounds_at, last = {}, COUNT_AT
for index = 1, num(ARGS[COUNT_AT]) do
  bounds_at[index] = last + 5 + 2 * num(ARGS[last + 4])
  last = bounds_at[index] + 2
end
local items = {}
for index = 1, num(ARGS[last + 1]) do
  local item = last + 3 * index
  items[index] = { num(ARGS[item - 1]), num(ARGS[item]), num(ARGS[item + 1]) }
end

local own_field = 'n:' .. ARGS[2]
local found = redis.call('HMGET', key, 'a', own_field)
if not found[1] then return { 'seed', time } end
local account = unpacked(found[1])

-- Time does not go back, whoever has become the master; a node's clock may be a little ahead.
local now = max(account[NOW], time)
-- The slots of counts are seconds: none of them may end early.
local counts = is_count(account)
local ahead_at_most = time + (counts and STALE_AFTER or AHEAD)
for index = 1, #items do
  local minute = items[index][1]
  if minute > now and minute <= ahead_at_most then now = minute end
end
account[NOW] = now
local was_busy = account[BUSY] ~= 0
if account[SOONEST] and account[SOONEST] <= time then
  end_silent(account, time)
  found[2] = redis.call('HGET', key, own_field)
end

if time - num(ARGS[4]) > STALE_AFTER then
  store(account)
  return { 'stale', time }
end
local holder
if found[2] then
  holder = { cmsgpack.unpack(found[2]) }
else
  holder = { inc, 0, 'M0:0', 0, 0, 0, 0, 0, false, false, false, 0 }
  local incs = list(account, INCS)
  incs[#incs + 1] = inc
end
local held_by_others, reserved_by_others, kept_by_others, others_heard, others_busy = sums_of_others(account, holder)

local function keep()
  put_sums(
    account, min(held_by_others + held_of(holder), EXACT),
    min(reserved_by_others + holder[RESERVED] + holder[PENDING], EXACT), min(kept_by_others + holder[KEPT], EXACT),
    others_heard + (holder[HEARD] and 1 or 0), others_busy + is_busy(holder)
  )
  local ends = holder[ENDS]
  if ends and not (account[SOONEST] and account[SOONEST] <= ends) then account[SOONEST] = ends end
  redis.call('HSET', key, 'a', packed(account), own_field, cmsgpack.pack(unpack(holder)))
  -- What is in use does not expire already.
  if account[BUSY] == 0 then
    redis.call('PEXPIRE', key, FORGOTTEN_AFTER)
  elseif not was_busy then
    redis.call('PERSIST', key)
  end
end

if holder[CLOSED] or seq <= holder[SEQ] then
  keep()
  return { holder[CLOSED] and 'stale' or 'old', time }
end
holder[SEQ], holder[SEEN] = seq, time

-- The later caps win. Returns whether the stored ones are to replace the node's.
local function take_terms(terms)
  local function same(window, other) return window[KIND] == other[KIND] and window[MODE] == other[MODE] end
  -- Whether caps that carry no order allow no more than the ones in force.
  local function no_more_than_ours()
    for _, ours in ipairs(list(account, TERMS)) do
      local less = false
      for _, theirs in ipairs(terms.windows) do
        less = less or (same(ours, theirs) and cap_at(theirs, now) <= cap_at(ours, now))
      end
      if not less then return false end
    end
    return true
  end
  local function counts_from_later()
    for _, ours in ipairs(account[WINDOWS]) do
      for _, theirs in ipairs(terms.windows) do
        if same(ours, theirs) and theirs[SINCE] > ours[SINCE] then return true end
      end
    end
    return false
  end
  -- The bounds come from the node, whose caps may be older ones.
  local function roll_all()
    for _, window in ipairs(account[WINDOWS]) do
      local bounds = false
      for index, theirs in ipairs(terms.windows) do
        bounds = bounds or (same(window, theirs) and terms.bounds[index])
      end
      roll(window, bounds, now)
    end
  end
  local function take()
    if terms.version < account[VERSION] then return terms.body ~= account[BODY] end
    if terms.version == account[VERSION] then
      -- What has been over since one of them was read is all that can be different; or one was made with an owner as he was
      -- before a reset.
      if terms.version ~= 0 and not counts_from_later() then return false end
      local others = account[STATED_BY] ~= inc and now - account[STATED_AT] < STATED_FOR
      if terms.version == 0 and others and not no_more_than_ours() then return true end
    end
    account[STATED_BY], account[STATED_AT] = inc, now
    local windows = {}
    for index, theirs in ipairs(terms.windows) do
      local fresh = unknown(theirs, terms.bounds[index])
      for _, window in ipairs(account[WINDOWS]) do
        if same(window, theirs) and not windows[index] then
          window[SINCE], window[CAP] = theirs[SINCE], fresh[CAP]
          windows[index] = window
        end
      end
      windows[index] = windows[index] or fresh
    end
    for _, window in ipairs(account[WINDOWS]) do
      if not has(windows, window) then clear_slots(window) end
    end
    account[WINDOWS], account[TERMS] = windows, terms.windows
    account[VERSION], account[BODY] = terms.version, terms.body
    if not is_count(account) then account[RESEED] = true end
    return false
  end
  local ours_is_later = take()
  roll_all()
  return ours_is_later
end

local ours_is_later = false
if num(ARGS[VERSION_AT]) == account[VERSION] and ARGS[BODY_AT] == account[BODY] then
  account[STATED_BY], account[STATED_AT] = inc, now
  local windows = account[WINDOWS]
  for index = 1, #windows do
    local window = windows[index]
    local mode = window[MODE]
    if mode == ROLLING or mode == FROM_FIRST then
      roll(window, false, now)
    elseif mode ~= FOREVER and window[END] and now >= window[END] then
      local bounds = bounds_at[index]
      local start = num(ARGS[bounds])
      roll(window, start and { start, num(ARGS[bounds + 1]), num(ARGS[bounds + 2]) }, now)
    end
  end
else
  at = VERSION_AT - 1
  ours_is_later = take_terms(read_terms())
end

if holder[PLACE] ~= from then
  keep()
  return { 'resend', time, holder[PLACE] }
end

local windows = account[WINDOWS]
-- Nothing is in a time that is still to come, whatever a node's clock says.
local latest = slot_at(ahead_at_most, counts and SECOND or MINUTE)
local sum = 0
for index = 1, #items do
  local minute, era, amount = min(items[index][1], latest), items[index][2], items[index][3]
  sum = min(sum + amount, EXACT)
  for at_window = 1, #windows do add(windows[at_window], minute, era, amount, now) end
end

-- What is reserved is honoured, also as a debt; what is kept is never more than what was granted.
-- What was told before a seed and is told again was held meanwhile beside the rest.
local first_told = sum > 0 and max(sum - holder[PENDING], 0) or sum
local before = min(holder[RESERVED] + holder[KEPT], EXACT) - first_told
if account[JOIN] ~= NOBODY and has(list(account, JOIN), inc) then
  before = max(before, min(said_reserved + said_kept, EXACT))
  account[JOIN] = retain(account[JOIN], function(joins) return joins ~= inc end)
end
local kept = max(min(said_kept, before - said_reserved), 0)
holder[PLACE], holder[RESERVED], holder[WRITTEN], holder[UNWRITTEN] = to, said_reserved, num(ARGS[7]), num(ARGS[10])
holder[PENDING], holder[HEARD] = 0, true
local ends_after = num(ARGS[15])
holder[ENDS] = ends_after and time + ends_after or false

local held = min(held_by_others + said_reserved + kept, EXACT)
local free, smallest, known = false, false, true
-- When a cap next falls, when time alone next changes what is free, and since when the fixed five hours run.
local caps, falls, changes, started = {}, false, false, false
for index = 1, #windows do
  local window = windows[index]
  local cap, mode, over = window[CAP], window[MODE], window[END]
  if not cap then
    local steps = list(account, TERMS)[index][CAPS]
    cap = cap_at(account[TERMS][index], now)
    for step = 1, #steps - 1, 2 do
      local from_then = steps[step]
      if from_then > now then
        if not changes or from_then < changes then changes = from_then end
        if step > 1 and steps[step + 1] < steps[step - 1] and not (falls and falls < from_then) then falls = from_then end
      end
    end
  end
  caps[index] = cap
  local left = cap - window[SPENT] - held
  if not free or left < free then free = left end
  if not smallest or cap < smallest then smallest = cap end
  known = known and window[KNOWN]
  if mode == ROLLING then
    over = window[FIRST] and leaves(window, window[FIRST])
  elseif mode == FROM_FIRST then
    if window[START] then started = started or window[START] else over = false end
  end
  if over and over > now and not (changes and changes < over) then changes = over end
end
free, smallest = max(free or 0, -EXACT), smallest or 0
if free < 0 then
  local cut = min(kept, -free)
  kept, free = kept - cut, free + cut
end

-- Near the cap every node takes what it needs and no more; where there are few places for each node, always.
local nodes = max(others_heard + 1, 1)
local enough = max(floor(smallest / 100), min(need_min * 2 * nodes, EXACT))
if counts then
  enough = smallest < nodes * 4 and math.huge or max(floor(smallest / 100), min(max(need_min, 1) * 2 * nodes, EXACT))
end

local settling = account[JOIN] ~= NOBODY and #list(account, JOIN) > 0 and now < account[SETTLES]
local granted, left = 0, max(free, 0)
if need_sum > 0 and not settling and known then
  local unhurried = free < enough and 0 or max(min(slice, floor(left / (nodes * 2))), slice_min)
  granted = min(max(need_sum, unhurried), left)
  if granted < need_min then granted = 0 end
end
free, kept = free - granted, kept + granted
holder[KEPT] = kept

local denied = need_min > 0 and granted == 0
local recallable = 0
if denied and now - account[RECALLED] > RECALL_EVERY then recallable = kept_by_others end
if recallable > 0 then account[RECALLED] = now end

local reports = {}
if denied or ARGS[17] == '1' then
  local held_now = min(held_by_others + held_of(holder), EXACT)
  local reserved = min(reserved_by_others + holder[RESERVED] + holder[PENDING], EXACT)
  for index, window in ipairs(windows) do
    local gone, leaving = 0, {}
    if window[MODE] == ROLLING then
      for _, slot in ipairs(all_slots(window)) do
        gone = min(gone + slot[2], EXACT)
        leaving[#leaving + 1], leaving[#leaving + 2] = leaves(window, slot[1]), gone
      end
    end
    local is_begun = begun(window)
    reports[index] = {
      window[KIND], caps[index], window[SPENT], held_now, reserved,
      is_begun and window[START], is_begun and window[END], leaving,
    }
  end
end

-- A node that forgets the budget leaves nothing behind but its position.
if ARGS[16] == '1' and said_reserved == 0 and kept == 0 then
  holder[UNWRITTEN], holder[HEARD] = 0, false
end
keep()
-- Whoever is granted money of a day that a node ahead of this clock has begun dates what it pays for in that day.
return {
  'ok', counts and time or now, kept, granted, free, free < enough and 1 or 0, settling and 1 or 0, recallable,
  falls, changes, ours_is_later and account[VERSION], ours_is_later and account[BODY],
  started, account[RESEED] and 1 or 0, known and 0 or 1, reports,
}
