-- Counts one more in a sliding window, unless the window is full: returns 1, or 0 when full.
-- What is in it already, by the same name, is counted once.
-- KEYS: 1 sorted set; ARGV: 1 now, 2 length of the window, 3 limit, 4 a unique name
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(ARGV[1]) - tonumber(ARGV[2]))
if redis.call('ZSCORE', KEYS[1], ARGV[4]) then
  return 1
end
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return 0
end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
