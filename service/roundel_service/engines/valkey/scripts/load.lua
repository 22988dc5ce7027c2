-- Returns the timeline, and the mailbox unless its revision is the cached one.
-- KEYS: data id, mailbox.
-- ARGV: a new data id, the cached revision or an empty one.

identify_data(ARGV[1])
local revision, is_hash = revision_of(KEYS[2])
if ARGV[2] ~= '' and revision == ARGV[2] then return {timeline} end
return stored(KEYS[2], is_hash)
