-- Sets what was spent to what the ledger says. See Account::seed and Account::new.
--
-- A budget that is not there is told apart from one that was flushed by its partition, which the node has looked at after
-- it had left a mark here (`gap`): whatever flushed the budget since has flushed the mark as well.

local SEED_LIFE, SILENT = 5000, 60000

local time = clock()
local query_started, born, dead_after, gap = number(), number(), number(), word()
local terms = read_terms()
local seeds = {}
for index = 1, #terms.windows do
  local seed = { number(), {} }
  for minute = 1, number() do seed[2][minute] = { number(), number() } end
  seeds[index] = seed
end
local first_charge = number()
local marks, listed, mark_of = {}, {}, {}
for index = 1, number() do
  local inc, mark = number(), word()
  marks[index], listed[inc], mark_of[inc] = inc, mark, tonumber(mark)
end

local account = load()
local new = not account
if new then
  if redis.call('HGET', key, 'gap') ~= gap then return { 'refused', time } end
  local settles = born + dead_after
  account = { terms.version, terms.body, time, 0, 0, settles, {}, false, {}, {}, 0, 0, {}, 0, 0, 0, 0, 0, false }
elseif is_count(account) then
  -- The ledger knows nothing of counts: what the nodes have told is all there is.
  return { 'refused', time }
end
local now = max(account[NOW], time)
local is_old = time - query_started > SEED_LIFE or query_started < account[SEEDED]
-- Of a clock that is far ahead nobody knows when it began, and for so long nothing would be later.
if is_old or query_started - time > AHEAD or terms.version < account[VERSION] then return { 'refused', time } end
-- What a node told before its journal was written further is in neither the sums nor what it has not written.
local holders = all_holders(account)
for _, holder in ipairs(holders) do
  local mark = mark_of[holder[INC]]
  if mark and not holder[CLOSED] and mark < holder[WRITTEN] then return { 'refused', time } end
end
-- A node that is a little ahead begins the next day, and then that is the time.
for index = 1, #terms.windows do
  local bounds = terms.bounds[index]
  if bounds then now = max(now, bounds[1]) end
end
if now > max(account[NOW], time + AHEAD) then return { 'refused', time } end
for index, policy in ipairs(terms.windows) do
  local bounds = terms.bounds[index]
  if is_calendar(policy[MODE]) and (not bounds or bounds[2] <= now) then return { 'refused', time } end
end

-- Nothing is in a time that is still to come, whatever a node's clock says.
local latest = slot_at(now + AHEAD, MINUTE)
first_charge = first_charge and min(first_charge, latest)
for _, seed in ipairs(seeds) do
  for _, minute in ipairs(seed[2]) do minute[1] = min(minute[1], latest) end
end
for _, window in ipairs(account[WINDOWS]) do clear_slots(window) end
local windows = {}
for index, policy in ipairs(terms.windows) do
  local window, seed = unknown(policy, terms.bounds[index]), seeds[index]
  window[KNOWN] = true
  if policy[MODE] == ROLLING then
    for _, minute in ipairs(seed[2]) do add_to_slot(window, minute[1], minute[2], 0) end
  elseif policy[MODE] == FROM_FIRST then
    if first_charge then
      -- Those before ended right there, if they can have: the minute before may be theirs.
      for _, minute in ipairs(seed[2]) do
        if minute[1] + FIVE_HOURS == first_charge then window[AFTER] = first_charge end
      end
      begin(window, first_charge)
    end
    for _, minute in ipairs(seed[2]) do add_from_first(window, minute[1], minute[2]) end
  else
    window[SPENT] = min(seed[1], EXACT)
  end
  roll(window, terms.bounds[index], now)
  windows[index] = window
end

account[NOW], account[SEEDED] = now, query_started
account[VERSION], account[BODY] = terms.version, terms.body
account[TERMS], account[WINDOWS] = terms.windows, windows
-- A node that the snapshot does not list has its whole journal in it, unless its life began after the snapshot.
holders = retain(holders, function(holder)
  return listed[holder[INC]] or (not holder[CLOSED] and time - holder[SEEN] < SILENT)
end)
account[JOIN] = retain(list(account, JOIN), function(inc) return listed[inc] end)
local here = {}
for _, holder in ipairs(holders) do here[holder[INC]] = true end
for _, inc in ipairs(marks) do
  if not here[inc] then holders[#holders + 1] = holder_of(inc) end
end
-- A snapshot from before a node was closed may miss the end of its journal.
account[RESEED] = false
local pending = 0
for _, holder in ipairs(holders) do
  account[RESEED] = account[RESEED] or holder[CLOSED]
  local mark = listed[holder[INC]] or '0'
  holder[PLACE] = string.format('M%s:%.0f', mark, account[SETTLES])
  holder[PENDING] = holder[UNWRITTEN]
  if holder[PENDING] ~= 0 then pending = pending + 1 end
end
put_holders(account, holders)
if new and now < account[SETTLES] then account[JOIN] = marks end
redis.call('HDEL', key, 'gap')
store(account)
return { 'taken', time, #account[JOIN], pending }
