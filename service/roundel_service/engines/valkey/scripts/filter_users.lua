-- Returns the users who have a mailbox, and removes the others from the index.
-- KEYS: users, then the mailbox of each user.
-- ARGV: the users.

local present = {}
for index, user in ipairs(ARGV) do
  if redis.call('EXISTS', KEYS[index + 1]) == 1 then
    present[#present + 1] = user
  else
    -- A store that refuses writes still serves reads.
    redis.pcall('ZREM', KEYS[1], user)
  end
end
return present
