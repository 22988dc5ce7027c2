-- Writes to mailboxes of one shard. Each write takes effect if the revision and the
-- timeline of its mailbox are the expected ones; it is then appended to the log.
-- Returns for each write the id of its log entry. On a conflict the mailbox is not
-- written, and its result is what load.lua returns.
-- KEYS: data id, log, users, and for each write: mailbox, the tags to add, the tags to
-- remove.
-- ARGV: the headers of the writes, MessagePack, and for each write, joined without a
-- separator, the expected revision and the fields, MessagePack.

-- Log length in entries, approximate. find_write.lua reads up to twice as many.
local LOG_SIZE = 2000
-- Largest write in bytes that the log contains. For a larger one other nodes load
-- the mailbox.
local MAX_LOGGED = 4096
-- Lifetime of tags beyond that of a mailbox, in seconds. Tags are renewed once a day.
local EXTRA_TAG_TTL = 2 * 86400
-- Arguments of one command. Lua's stack holds 8,000.
local CHUNK = 2000

local function call_in_chunks(command, key, arguments)
  for first = 1, #arguments, CHUNK do
    redis.call(command, key,
      unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
  end
end

local function append_to_log(entry)
  local logged = redis.pcall('XADD', KEYS[2], 'NOMKSTREAM', 'MAXLEN', '~', LOG_SIZE,
    '0-*', unpack(entry))
  if type(logged) == 'string' then return logged end
  -- There is no log, or it is no log, or no id can follow its last one. A new log
  -- begins at the time in microseconds, above all ids of earlier logs. So the nodes
  -- that followed an earlier one find a gap.
  redis.call('DEL', KEYS[2])
  local time = redis.call('TIME')
  local first = string.format('0-%.0f', time[1] * 1000000 + time[2])
  return redis.call('XADD', KEYS[2], first, unpack(entry))
end

-- Writes to the mailbox KEYS[at], whose tags follow it.
local function commit(at, header, expected_revision, fields)
  local user, id, expected_timeline, _, _, ttl, index_all, added_tags, removed_tags =
    unpack(header)
  local key = KEYS[at]
  local revision, is_hash = revision_of(key)
  if revision ~= expected_revision or timeline ~= expected_timeline then
    return stored(key, is_hash)
  end

  local replace, put, delete = unpack(cmsgpack.unpack(fields))
  -- A full store refuses no command after one that frees memory, so those come first.
  if replace and redis.call('EXISTS', key) == 1 then redis.call('DEL', key) end
  call_in_chunks('HDEL', key, delete)
  call_in_chunks('HSET', key, put)
  redis.call('HSET', key, 'w', id .. timeline)
  redis.call('EXPIRE', key, ttl)

  if index_all then replacing('ZADD', KEYS[3], 0, user) end
  for index = at + 1, at + added_tags do
    replacing('SADD', KEYS[index], user)
    redis.call('EXPIRE', KEYS[index], ttl + EXTRA_TAG_TTL)
  end
  for index = at + added_tags + 1, at + added_tags + removed_tags do
    replacing('SREM', KEYS[index], user)
  end

  -- A revision begins with the id of its write. All ids have the same length.
  local entry = {'u', user, 'p', string.sub(revision, 1, #id), 'w', id}
  if #fields <= MAX_LOGGED then
    entry[7], entry[8] = 'e', fields
  end
  return append_to_log(entry)
end

local results, at, position = {}, 4, 1
local function take(length)
  position = position + length
  return string.sub(ARGV[2], position - length, position - 1)
end
for index, header in ipairs(cmsgpack.unpack(ARGV[1])) do
  local expected_revision, fields = take(header[4]), take(header[5])
  results[index] = commit(at, header, expected_revision, fields)
  at = at + 1 + header[8] + header[9]
end
return results
