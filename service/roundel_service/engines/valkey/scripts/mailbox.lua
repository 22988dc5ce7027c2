-- Prefix of the scripts that read mailboxes.

-- Returns the revision of the mailbox *key*, empty if it has none, and whether the key
-- is a hash or missing.
local function revision_of(key)
  local revision = redis.pcall('HGET', key, 'w') or ''
  if type(revision) == 'string' then return revision, true end
  if string.find(revision.err, 'WRONGTYPE', 1, true) then return '', false end
  return redis.call('HGET', key, 'w'), true
end

-- Returns the timeline and the mailbox. A third element is the type of a key that is
-- no mailbox.
local function stored(key, is_hash)
  if is_hash then return {timeline, redis.call('HGETALL', key)} end
  return {timeline, {}, redis.call('TYPE', key).ok}
end
