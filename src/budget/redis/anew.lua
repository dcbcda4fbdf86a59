-- The ledger says something else than was told. See Account::count_anew.

local account = load()
if not account then return 0 end
account[RESEED] = not is_count(account)
store(account)
return 1
