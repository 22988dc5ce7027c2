-- Returns the rules that the access list of the connection's user lacks. Runs each
-- command of the engine without a lasting effect.
-- ARGV: a key that never exists, which may belong to another server of a cluster, and
-- the rule that permits all keys.

local key = ARGV[1]
local calls = {
  {'INFO', 'replication'}, {'TIME'}, {'TYPE', key}, {'EXISTS', key}, {'GET', key},
  {'SET', key, '', 'XX'}, {'EXPIRE', key, '1'}, {'PEXPIRE', key, '1'}, {'PTTL', key},
  {'HSET', key, 'f', ''}, {'HSETNX', key, 'f', ''}, {'HGET', key, 'f'},
  {'HMGET', key, 'f'}, {'HGETALL', key}, {'HDEL', key, 'f'},
  {'SADD', key, 'm'}, {'SMEMBERS', key}, {'SREM', key, 'm'},
  {'ZADD', key, '0', 'm'}, {'ZRANGEBYLEX', key, '-', '+'}, {'ZREM', key, 'm'},
  {'XADD', key, 'NOMKSTREAM', '*', 'f', ''}, {'XREAD', 'STREAMS', key, '0'},
  {'XREVRANGE', key, '+', '-'}, {'XINFO', 'STREAM', key}, {'DEL', key},
  {'XTRIM', key, 'MINID', '0'},
}
-- The texts of servers and versions differ.
local function is_about(failure, texts)
  for _, text in ipairs(texts) do
    if string.find(failure, text, 1, true) then return true end
  end
end

local missing, may_access = {}, true
for _, call in ipairs(calls) do
  local reply = redis.pcall(unpack(call))
  local failure = type(reply) == 'table' and reply.err or ''
  if is_about(failure, {"can't access", 'access a key', 'access one of the keys'}) then
    may_access = false
  elseif is_about(failure, {"can't run this command", 'no permissions'}) then
    missing[#missing + 1] = '+' .. string.lower(call[1])
  end
end
if not may_access then table.insert(missing, 1, ARGV[2]) end
return missing
