-- A node is gone and its journal is in the database. See Account::close.

local inc = tonumber(ARGV[1])
local account = load()
if not account then return 0 end
for _, holder in ipairs(account[HOLDERS]) do
  if holder[INC] == inc then
    -- Nobody waits for it any more once the next seed has told what it spent.
    holder[CLOSED], account[RESEED] = true, not is_count(account)
    store(account)
    return 1
  end
end
return 0
