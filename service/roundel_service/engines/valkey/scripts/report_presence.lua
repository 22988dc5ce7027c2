-- Stores how many streams of a user a node serves, and deletes expired reports. Returns
-- the number of streams at other nodes, and the revision of the mailbox: a lost mailbox
-- has no entry in the log.
-- KEYS: presence of the user, a hash of node to "COUNT EXPIRES_AT"; the mailbox.
-- ARGV: node, number of streams, time to live in milliseconds.

-- The store's clock, because the clocks of the nodes differ.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, streams, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3])
local others = 0
local reports = redis.pcall('HGETALL', KEYS[1])
if reports.err then
  -- Only a key of another type can be replaced.
  if not string.find(reports.err, 'WRONGTYPE', 1, true) then return reports end
  redis.call('DEL', KEYS[1])
  reports = {}
end
for index = 1, #reports, 2 do
  local other = reports[index]
  local count, expires_at = string.match(reports[index + 1], '^(%d+) (%d+)$')
  if other ~= node then
    -- A report that cannot be read is like an expired one.
    if not count or tonumber(expires_at) <= now then
      redis.pcall('HDEL', KEYS[1], other)
    else
      others = others + tonumber(count)
    end
  end
end
-- A store that refuses writes still tells the other reports.
if streams == '0' then
  redis.pcall('HDEL', KEYS[1], node)
else
  redis.pcall('HSET', KEYS[1], node, string.format('%s %.0f', streams, now + ttl))
  if redis.call('PTTL', KEYS[1]) < ttl then redis.pcall('PEXPIRE', KEYS[1], ttl) end
end
local revision = redis.pcall('HGET', KEYS[2], 'w')
return {others, type(revision) == 'string' and revision or ''}
