-- What is counted of a budget; nothing when it is not known. See Account::audit.

local account = load()
if not account then return false end
local windows, holders = {}, {}
for index, window in ipairs(account[WINDOWS]) do
  local leaving = {}
  if window[MODE] == ROLLING then
    for _, slot in ipairs(all_slots(window)) do
      leaving[#leaving + 1], leaving[#leaving + 2] = leaves(window, slot[1]), slot[2]
    end
  end
  windows[index] = { window[KIND], window[MODE], window[START], window[SPENT], leaving }
end
for index, holder in ipairs(all_holders(account)) do
  holders[index] = {
    holder[INC], holder[PLACE], holder[RESERVED], holder[KEPT], holder[PENDING], holder[UNWRITTEN], holder[SEEN],
  }
end
return { account[VERSION], account[RESEED] and 1 or 0, windows, holders }
