"""What runs in the store: scripts that compare and write, and never count items.

Each takes the keys of one shard. All know the *line* of the shard: the identity of
the primary's data, which is another one after whatever may have lost a write. It is
the primary's replication id, which changes when a replica is promoted and when a
server starts, and a random key beside the data, which is gone when they are.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final, final

import attrs

ID_SIZE: Final = 12
"""How long the id of a write is; what follows it in a mailbox is its line."""

LOG: Final = 2_000
"""How many writes the log of a shard holds, about."""

LOGGED: Final = 4_096
"""How many bytes of a write are logged; who watches has to look up one of more."""

TAGS_LIVE_ON: Final = 2 * 86_400
"""For how many seconds tags outlive mailboxes, which are indexed again each day."""


@final
@attrs.frozen
class Script:
    """A script by its *text*, and the *sha* under which the store knows it."""

    text: str
    sha: str = attrs.field(
        default=attrs.Factory(lambda made: _sha(made.text), takes_self=True)
    )


def _sha(text: str) -> str:
    # It is the store's name of a script, and guards nothing.
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


# A replica answers what was true some time ago; it must not be taken for the store.
_LINE = """
local info = redis.call('INFO', 'replication')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY it is a replica now')
end
local line = redis.call('GET', KEYS[1])
"""

_ITS_LINE = f"""{_LINE}
if not line then
  line = ARGV[1]
  redis.call('SET', KEYS[1], line)
end
line = string.match(info, 'master_replid:(%w+)') .. line
"""

LOAD: Final = Script(f"""{_ITS_LINE}
local at = redis.call('HGET', KEYS[2], 'w')
if at and at == ARGV[2] then return {{line}} end
return {{line, redis.call('HGETALL', KEYS[2])}}
""")
"""Return the line, and all of a mailbox unless it is *at* this write.

KEYS: line, mailbox. ARGV: a key to be the line's where there is none, *at*.
"""

ENDS: Final = Script(f"""{_ITS_LINE}
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last then return {{line, last[1]}} end
if redis.call('EXISTS', KEYS[2]) == 0 then return {{line, '0-0'}} end
local told = redis.call('XINFO', 'STREAM', KEYS[2])
for number = 1, #told, 2 do
  if told[number] == 'last-generated-id' then
    return {{line, told[number + 1], 'empty'}}
  end
end
""")
"""Return the line, and the last id of its log, and whether nothing else is left of it.

KEYS: line, log. ARGV: a key to be the line's where there is none.
"""

COMMIT: Final = Script(f"""{_LINE}
local was, known, user, id, ttl, adds, is_due = unpack(cmsgpack.unpack(ARGV[1]))
line = string.match(info, 'master_replid:(%w+)') .. (line or '')
local at = redis.call('HGET', KEYS[2], 'w') or ''
if at ~= was or line ~= known then
  return {{line, redis.call('HGETALL', KEYS[2])}}
end

local function each(command, fields)
  for first = 1, #fields, 2000 do
    redis.call(command, KEYS[2],
      unpack(fields, first, math.min(first + 1999, #fields)))
  end
end

local anew, puts, dels = unpack(cmsgpack.unpack(ARGV[2]))
if anew then redis.call('DEL', KEYS[2]) end
each('HDEL', dels)
each('HSET', puts)
redis.call('HSET', KEYS[2], 'w', id .. line)
redis.call('EXPIRE', KEYS[2], ttl)

if is_due then redis.call('ZADD', KEYS[4], 0, user) end
for number = 5, #KEYS do
  if number <= 4 + adds then
    redis.call('SADD', KEYS[number], user)
    redis.call('EXPIRE', KEYS[number], ttl + {TAGS_LIVE_ON})
  else
    redis.call('SREM', KEYS[number], user)
  end
end

local entry = {{'u', user, 'p', string.sub(at, 1, {ID_SIZE}), 'w', id}}
if #ARGV[2] <= {LOGGED} then
  entry[7], entry[8] = 'e', ARGV[2]
end
return redis.call('XADD', KEYS[3], 'MAXLEN', '~', {LOG}, '0-*', unpack(entry))
""")
"""Write, if the mailbox is at this write of this line, and log it; return the id in
the log, or else what `LOAD` returns.

KEYS: line, mailbox, log, users, then the tags to add to and those to remove from.
ARGV: at, line, user, id, its time to live, how many tags to add to and whether to be
put among the users as well, packed together; and what to write. Each argument more
would be dear, also on the way here.
"""

FIND: Final = Script("""
local last, left = '+', tonumber(ARGV[4])
while left > 0 do
  local entries = redis.call('XREVRANGE', KEYS[1], last, '-', 'COUNT', 100)
  if #entries == 0 then return 'unknown' end
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    if fields[2] == ARGV[1] then
      if fields[6] == ARGV[3] then return 'done' end
      if fields[4] == ARGV[2] then return 'not done' end
    end
    last = '(' .. entry[1]
  end
  left = left - #entries
end
return 'unknown'
""")
"""Tell whether a write was done, by what its log says came after the one before it.

KEYS: log. ARGV: user, the write before, the write, how many entries to look at.
"""

PRESENT: Final = Script("""
local present = {}
for number = 2, #KEYS do
  if redis.call('EXISTS', KEYS[number]) == 1 then
    present[#present + 1] = ARGV[number - 1]
  else
    redis.call('ZREM', KEYS[1], ARGV[number - 1])
  end
end
return present
""")
"""Return which of these users have a mailbox, and strike out the others.

KEYS: users, then their mailboxes. ARGV: the names of those.
"""

# The store's clock, since those of the nodes differ.
ATTEND: Final = Script("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl, others = tonumber(ARGV[3]), 0
local told = redis.call('HGETALL', KEYS[1])
for number = 1, #told, 2 do
  local node, count, over = told[number], string.match(told[number + 1], '(%d+) (%d+)')
  if node ~= ARGV[1] then
    if tonumber(over) <= now then
      redis.call('HDEL', KEYS[1], node)
    else
      others = others + count
    end
  end
end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%s %.0f', ARGV[2], now + ttl))
  if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], ttl) end
end
return others
""")
"""Keep how many streams a node serves; return how many others have said.

KEYS: attendance of a user. ARGV: node, how many, for how many milliseconds.
"""

TAKES: Final = Script(f"""{_LINE}
return redis.call('SET', KEYS[2], '', 'XX')
""")
"""Write nothing, but fail where nothing can be written.

KEYS: line, what is not there.
"""

ALL: Final = (LOAD, ENDS, COMMIT, FIND, PRESENT, ATTEND, TAKES)
