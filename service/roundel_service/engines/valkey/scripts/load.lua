-- Returns the timeline, and the mailbox unless its revision is the cached one.
-- KEYS: data id, mailbox.
-- ARGV: a new data id, the cached revision.

if not data_id then
  redis.call('SET', KEYS[1], ARGV[1])
  timeline = replication_id .. ARGV[1]
end
if redis.call('HGET', KEYS[2], 'w') == ARGV[2] then return {timeline} end
return {timeline, redis.call('HGETALL', KEYS[2])}
