-- Prefix of the scripts that must run on a primary. KEYS[1] holds the data id.

-- Calls a command. A key of another type is damage: it is deleted first.
local function replacing(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call('DEL', key) end
  return redis.call(command, key, ...)
end

local info = redis.call('INFO', 'replication')
-- A replica may lag behind its primary, so its data must not be used.
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end

-- The replication id changes when a replica is promoted and when a server restarts.
-- The data id is lost together with the data.
local replication_id = string.match(info, 'master_replid:(%w+)')
local data_id = replacing('GET', KEYS[1])
if data_id and not string.find(data_id, '^[%w_-]+$') then data_id = false end
local timeline = replication_id .. (data_id or '')

-- Gives data without an id a new one. A store that refuses writes still serves reads,
-- so without the id.
local function identify_data(new_id)
  if data_id then return end
  if not redis.pcall('SET', KEYS[1], new_id).err then
    timeline = replication_id .. new_id
  end
end
