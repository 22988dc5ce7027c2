-- Writes to mailboxes of one shard. Each write takes effect if the revision and the
-- timeline of its mailbox are the expected ones; it is then appended to the log.
-- Returns for each write the id of its log entry. On a conflict the mailbox is not
-- written, and its result is what load.lua returns.
-- KEYS: data id, log, users, and for each write: mailbox, the tags to add, the tags to
-- remove.
-- ARGV: the headers of the writes, MessagePack, and for each write, joined without a
-- separator, the expected revision, the snapshot and the entry. With a snapshot, which
-- replaces the mailbox, the entry is for the log alone. One of them may be empty.

-- Log length in entries, approximate. find_write.lua reads up to twice as many.
local LOG_SIZE = 2000
-- Largest entry or snapshot in bytes that the log contains. For a larger one other
-- nodes load the mailbox.
local MAX_LOGGED = 4096
-- Lifetime of tags beyond that of a mailbox, in seconds. Tags are renewed once a day.
local EXTRA_TAG_TTL = 2 * 86400
-- Length of the id of a write.
local WRITE_ID_SIZE = 12

local function append_to_log(fields)
  local logged = redis.pcall('XADD', KEYS[2], 'NOMKSTREAM', 'MAXLEN', '~', LOG_SIZE,
    '0-*', unpack(fields))
  if type(logged) == 'string' then return logged end
  -- There is no log, or it is no log, or no id can follow its last one. A new log
  -- begins at the time in microseconds, above all ids of earlier logs. So the nodes
  -- that followed an earlier one find a gap.
  redis.call('DEL', KEYS[2])
  local time = redis.call('TIME')
  local first = string.format('0-%.0f', time[1] * 1000000 + time[2])
  return redis.call('XADD', KEYS[2], first, unpack(fields))
end

-- Writes to the mailbox KEYS[at], whose tags follow it.
local function commit(at, header, expected_revision, snapshot, entry)
  local user, new_revision, expected_timeline, _, _, _, number, frees_memory, ttl,
    indexed_at, index_all, added_tags, removed_tags = unpack(header)
  local key = KEYS[at]
  local revision, is_hash = revision_of(key)
  if revision ~= expected_revision or timeline ~= expected_timeline then
    return stored(key, is_hash)
  end

  if snapshot == '' then
    redis.call('HSET', key, 'w', new_revision, 'e:' .. number, entry)
    if indexed_at then redis.call('HSET', key, 'x', indexed_at) end
  else
    -- A full store refuses a command that takes memory unless another came before.
    if is_hash and not frees_memory then redis.call('HSET', key, 'w', new_revision) end
    redis.call('DEL', key)
    redis.call('HSET', key, 'w', new_revision, 'x', indexed_at, 'b', snapshot)
  end
  redis.call('EXPIRE', key, ttl)

  if index_all then replacing('ZADD', KEYS[3], 0, user) end
  for index = at + 1, at + added_tags do
    replacing('SADD', KEYS[index], user)
    -- The mailbox of another user may live longer.
    if redis.call('PTTL', KEYS[index]) < 1000 * (ttl + EXTRA_TAG_TTL) then
      redis.call('EXPIRE', KEYS[index], ttl + EXTRA_TAG_TTL)
    end
  end
  for index = at + added_tags + 1, at + added_tags + removed_tags do
    replacing('SREM', KEYS[index], user)
  end

  -- A revision begins with the id of its write.
  local id = string.sub(new_revision, 1, WRITE_ID_SIZE)
  local fields = {'u', user, 'p', string.sub(revision, 1, WRITE_ID_SIZE), 'w', id,
    'n', number}
  if entry == '' then entry = snapshot end
  if #entry <= MAX_LOGGED then
    fields[9], fields[10] = 'e', entry
  end
  return append_to_log(fields)
end

local results, at, position = {}, 4, 1
local function take(length)
  position = position + length
  return string.sub(ARGV[2], position - length, position - 1)
end
for index, header in ipairs(cmsgpack.unpack(ARGV[1])) do
  local expected_revision = take(header[4])
  local snapshot, entry = take(header[5]), take(header[6])
  results[index] = commit(at, header, expected_revision, snapshot, entry)
  at = at + 1 + header[12] + header[13]
end
return results
