-- Writes to a mailbox if its revision and its timeline are the expected ones, and
-- appends the write to the log. Returns the id of the log entry. On a conflict it
-- writes nothing and returns what load.lua returns.
-- KEYS: data id, mailbox, log, users, the tags to add, the tags to remove.
-- ARGV: the header and the fields, both MessagePack. One packed header costs less
-- than seven arguments.

-- Log length in entries, approximate. find_write.lua reads up to twice as many.
local LOG_SIZE = 2000
-- Largest write in bytes that the log contains. For a larger one other nodes load
-- the mailbox.
local MAX_LOGGED = 4096
-- Lifetime of tags beyond that of a mailbox, in seconds. Tags are renewed once a day.
local EXTRA_TAG_TTL = 2 * 86400
-- Arguments of one command. Lua's stack holds 8,000.
local CHUNK = 2000

local expected, expected_timeline, user, id, ttl, added_tags, index_all =
  unpack(cmsgpack.unpack(ARGV[1]))
local revision = redis.call('HGET', KEYS[2], 'w') or ''
if revision ~= expected or timeline ~= expected_timeline then
  return {timeline, redis.call('HGETALL', KEYS[2])}
end

local function call_in_chunks(command, arguments)
  for first = 1, #arguments, CHUNK do
    redis.call(command, KEYS[2],
      unpack(arguments, first, math.min(first + CHUNK - 1, #arguments)))
  end
end

local replace, put, delete = unpack(cmsgpack.unpack(ARGV[2]))
if replace then redis.call('DEL', KEYS[2]) end
call_in_chunks('HDEL', delete)
call_in_chunks('HSET', put)
redis.call('HSET', KEYS[2], 'w', id .. timeline)
redis.call('EXPIRE', KEYS[2], ttl)

if index_all then redis.call('ZADD', KEYS[4], 0, user) end
for index = 5, #KEYS do
  if index <= 4 + added_tags then
    redis.call('SADD', KEYS[index], user)
    redis.call('EXPIRE', KEYS[index], ttl + EXTRA_TAG_TTL)
  else
    redis.call('SREM', KEYS[index], user)
  end
end

-- A revision begins with the id of its write. All ids have the same length.
local entry = {'u', user, 'p', string.sub(revision, 1, #id), 'w', id}
if #ARGV[2] <= MAX_LOGGED then
  entry[7], entry[8] = 'e', ARGV[2]
end
return redis.call('XADD', KEYS[3], 'MAXLEN', '~', LOG_SIZE, '0-*', unpack(entry))
