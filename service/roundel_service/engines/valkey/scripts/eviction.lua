-- Returns the eviction policy of a server, and whether it evicts keys: its memory is
-- bounded, or it has evicted keys since its start.
-- KEYS: a key of the server.

local memory, stats = redis.call('INFO', 'memory'), redis.call('INFO', 'stats')
local policy = string.match(memory, 'maxmemory_policy:([%w-]+)') or 'unknown'
local limit = tonumber(string.match(memory, 'maxmemory:(%d+)') or '0')
local evicted = tonumber(string.match(stats, 'evicted_keys:(%d+)') or '0')
local evicts = evicted > 0 or (limit > 0 and policy ~= 'noeviction')
return {policy, evicts and 1 or 0}
