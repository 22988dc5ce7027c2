-- Prefix of the scripts that read a mailbox. KEYS[2] is the mailbox.

local revision = redis.pcall('HGET', KEYS[2], 'w') or ''
local is_hash = type(revision) == 'string'
if not is_hash then
  if not string.find(revision.err, 'WRONGTYPE', 1, true) then return revision end
  revision = ''
end

-- Returns the timeline and the mailbox. A third element is the type of a key that is
-- no mailbox.
local function stored()
  if is_hash then return {timeline, redis.call('HGETALL', KEYS[2])} end
  return {timeline, {}, redis.call('TYPE', KEYS[2]).ok}
end
