-- Prefix of the scripts that must run on a primary. KEYS[1] holds the data id.

local info = redis.call('INFO', 'replication')
-- A replica may lag behind its primary, so its data must not be used.
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end

-- The replication id changes when a replica is promoted and when a server restarts.
-- The data id is lost together with the data.
local replication_id = string.match(info, 'master_replid:(%w+)')
local data_id = redis.call('GET', KEYS[1])
local timeline = replication_id .. (data_id or '')
