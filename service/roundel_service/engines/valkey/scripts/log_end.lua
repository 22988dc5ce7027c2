-- Returns the timeline and the last id of the log. A third element, 'trimmed', says
-- that the log has had entries and has none now, or 'replaced', that the log was
-- deleted: it was no log, or ended with an id that no write can follow.
-- KEYS: data id, log.
-- ARGV: a new data id.

identify_data(ARGV[1])

local function last_id()
  local kind = redis.call('TYPE', KEYS[2]).ok
  if kind == 'none' then return '0-0' end
  if kind ~= 'stream' then return nil end
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if last then return last[1] end
  local fields = redis.call('XINFO', 'STREAM', KEYS[2])
  for index = 1, #fields, 2 do
    if fields[index] == 'last-generated-id' then return fields[index + 1], 'trimmed' end
  end
end

local id, trimmed = last_id()
if id and string.sub(id, 1, 2) == '0-' then return {timeline, id, trimmed} end
redis.call('DEL', KEYS[2])
return {timeline, '0-0', 'replaced'}
