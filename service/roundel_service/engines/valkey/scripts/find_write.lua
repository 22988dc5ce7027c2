-- Looks up in the log whether a write was applied. The write directly follows the
-- user's previous write, or was not applied.
-- Returns 'applied', 'not applied', or 'unknown' if the log does not reach back.
-- KEYS: log.
-- ARGV: user, id of the previous write, id of the write.

-- Entries to read: twice the LOG_SIZE of commit.lua.
local MAX_ENTRIES = 4000
local PAGE = 100

local last, read = '+', 0
while read < MAX_ENTRIES do
  local entries = redis.call('XREVRANGE', KEYS[1], last, '-', 'COUNT', PAGE)
  if #entries == 0 then return 'unknown' end
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    local user, previous, write = fields[2], fields[4], fields[6]
    if user == ARGV[1] then
      if write == ARGV[3] then return 'applied' end
      if previous == ARGV[2] then return 'not applied' end
    end
    last = '(' .. entry[1]
  end
  read = read + #entries
end
return 'unknown'
