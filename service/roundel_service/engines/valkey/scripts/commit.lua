-- Writes to a mailbox if its revision and its timeline are the expected ones, and
-- appends the write to the log. Returns the id of the log entry. On a conflict it
-- writes nothing and returns what load.lua returns.
-- KEYS: data id, mailbox, log, users, the tags to add, the tags to remove.
-- ARGV: the header and the fields, both MessagePack, and the expected revision. One
-- packed header costs less than six arguments.

-- Log length in entries, approximate. find_write.lua reads up to twice as many.
local LOG_SIZE = 2000
-- Largest write in bytes that the log contains. For a larger one other nodes load
-- the mailbox.
local MAX_LOGGED = 4096
-- Lifetime of tags beyond that of a mailbox, in seconds. Tags are renewed once a day.
local EXTRA_TAG_TTL = 2 * 86400
-- Arguments of one command. Lua's stack holds 8,000.
local CHUNK = 2000

local expected_timeline, user, id, ttl, added_tags, index_all =
  unpack(cmsgpack.unpack(ARGV[1]))
if revision ~= ARGV[3] or timeline ~= expected_timeline then return stored() end

local function call_in_chunks(command, arguments)
  for first = 1, #arguments, CHUNK do
    redis.call(command, KEYS[2],
      unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
  end
end

local replace, put, delete = unpack(cmsgpack.unpack(ARGV[2]))
-- A full store refuses no command after one that frees memory, so those come first.
if replace and redis.call('EXISTS', KEYS[2]) == 1 then redis.call('DEL', KEYS[2]) end
call_in_chunks('HDEL', delete)
call_in_chunks('HSET', put)
redis.call('HSET', KEYS[2], 'w', id .. timeline)
redis.call('EXPIRE', KEYS[2], ttl)

if index_all then replacing('ZADD', KEYS[4], 0, user) end
for index = 5, #KEYS do
  if index <= 4 + added_tags then
    replacing('SADD', KEYS[index], user)
    redis.call('EXPIRE', KEYS[index], ttl + EXTRA_TAG_TTL)
  else
    replacing('SREM', KEYS[index], user)
  end
end

-- A revision begins with the id of its write. All ids have the same length.
local entry = {'u', user, 'p', string.sub(revision, 1, #id), 'w', id}
if #ARGV[2] <= MAX_LOGGED then
  entry[7], entry[8] = 'e', ARGV[2]
end
local logged = redis.pcall('XADD', KEYS[3], 'NOMKSTREAM', 'MAXLEN', '~', LOG_SIZE,
  '0-*', unpack(entry))
if type(logged) == 'string' then return logged end
-- There is no log, or it is no log, or no id can follow its last one. A new log begins
-- at the time in microseconds, above all ids of earlier logs. So the nodes that
-- followed an earlier one find a gap.
redis.call('DEL', KEYS[3])
local time = redis.call('TIME')
local first = string.format('0-%.0f', time[1] * 1000000 + time[2])
return redis.call('XADD', KEYS[3], first, unpack(entry))
