-- Returns the timeline and the last id of the log. A third element, 'trimmed', says
-- that the log has had entries and has none now.
-- KEYS: data id, log.
-- ARGV: a new data id.

if not data_id then
  redis.call('SET', KEYS[1], ARGV[1])
  timeline = replication_id .. ARGV[1]
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last then return {timeline, last[1]} end
if redis.call('EXISTS', KEYS[2]) == 0 then return {timeline, '0-0'} end
local fields = redis.call('XINFO', 'STREAM', KEYS[2])
for index = 1, #fields, 2 do
  if fields[index] == 'last-generated-id' then
    return {timeline, fields[index + 1], 'trimmed'}
  end
end
