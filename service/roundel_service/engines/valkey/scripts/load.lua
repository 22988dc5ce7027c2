-- Returns the timeline, and the mailbox unless its revision is the cached one.
-- KEYS: data id, mailbox.
-- ARGV: a new data id, the cached revision or an empty one.

identify_data(ARGV[1])
if ARGV[2] ~= '' and revision == ARGV[2] then return {timeline} end
return stored()
