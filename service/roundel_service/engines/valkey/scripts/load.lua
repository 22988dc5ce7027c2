-- Returns the timeline, and the mailbox unless its revision is the cached one.
-- KEYS: data id, mailbox.
-- ARGV: a new data id, the cached revision or an empty one.

if not data_id then
  redis.call('SET', KEYS[1], ARGV[1])
  timeline = replication_id .. ARGV[1]
end
if ARGV[2] ~= '' and revision == ARGV[2] then return {timeline} end
return stored()
