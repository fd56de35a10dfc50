"""What Redis does with the sessions of one user, each in one atomic step.

The user's sessions are a sorted set by their last use; each session is a hash at `prefix` + id.
"""

from typing import Final

ROTATED: Final = 1
REPEATED: Final = 2
GONE: Final = 0
REUSED: Final = -1

# KEYS: the user's sessions, the new session, the barrier. ARGV: session, prefix, now in ms, life
# in ms, most sessions, version of the user, refresh token's id, address, agent.
# Returns the sessions that end for it; nil when the user was changed after that version.
OPEN: Final = """
if tonumber(redis.call('GET', KEYS[3]) or '0') > tonumber(ARGV[6]) then return false end
redis.call('HSET', KEYS[2], 'refresh', ARGV[7], 'created', ARGV[3], 'used', ARGV[3],
  'address', ARGV[8], 'agent', ARGV[9])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3] - ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[5])
local ended = {}
if over > 0 then
  ended = redis.call('ZRANGE', KEYS[1], 0, over - 1)
  for _, old in ipairs(ended) do redis.call('DEL', ARGV[2] .. old) end
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, over - 1)
end
return ended
"""

# KEYS: the user's sessions, the session. ARGV: session, refresh token's id presented, its new
# id, now in ms, life in ms, ms for a repetition, address, agent.
# Returns {ROTATED, new id}, {REPEATED, current id}, {GONE, ''}, or {REUSED, ''}: it has ended.
ROTATE: Final = """
local kept = redis.call('HMGET', KEYS[2], 'refresh', 'previous', 'rotated')
if not kept[1] then return {0, ''} end
if kept[1] == ARGV[2] then
  redis.call('HSET', KEYS[2], 'refresh', ARGV[3], 'previous', ARGV[2], 'rotated', ARGV[4],
    'used', ARGV[4], 'address', ARGV[7], 'agent', ARGV[8])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
  redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {1, ARGV[3]}
end
if kept[2] == ARGV[2] and ARGV[4] - kept[3] < tonumber(ARGV[6]) then return {2, kept[1]} end
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[1])
return {-1, ''}
"""

# KEYS: the user's sessions, the session. ARGV: session.
END: Final = """
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('DEL', KEYS[2])
"""

# KEYS: the user's sessions, the barrier. ARGV: prefix, the session that goes on, version of the
# user that the barrier lets open sessions; 0: any. A login takes far less than ten minutes.
END_ALL: Final = """
if tonumber(ARGV[3]) > tonumber(redis.call('GET', KEYS[2]) or '0') then
  redis.call('SET', KEYS[2], ARGV[3], 'PX', 600000)
end
local ended = {}
for _, session in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if session ~= ARGV[2] then
    redis.call('DEL', ARGV[1] .. session)
    redis.call('ZREM', KEYS[1], session)
    ended[#ended + 1] = session
  end
end
return ended
"""
