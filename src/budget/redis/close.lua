-- A node is gone and its journal is in the database. See Account::close.

local inc = tonumber(ARGV[1])
local account = load()
if not account then return 0 end
local holder, is_known = holder_of(inc)
if not is_known then return 0 end
-- Nobody waits for it any more once the next seed has told what it spent.
holder[CLOSED], account[RESEED] = true, not is_count(account)
put_holder(holder)
store(account)
return 1
