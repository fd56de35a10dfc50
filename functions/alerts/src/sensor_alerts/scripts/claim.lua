-- Takes the right to notify about one device and subject, or says why it is held back.
-- KEYS: 1 what was told (hash), 2 the device's notifications of the last hour (sorted set)
-- ARGV: 1 now, 2 severity, 3 deduplication, 4 cooldown, 5 limit per hour, 6 an hour, 7 a unique
--       name for this notification; times in milliseconds. What has got the right before, by the
--       same name, still has it.
local now, severity = tonumber(ARGV[1]), tonumber(ARGV[2])
local told = redis.call('HMGET', KEYS[1], 'severity', 'deduplicated_until', 'cooled_at', 'name')
if told[4] == ARGV[7] then
  return ''
end
if told[1] then
  if tonumber(told[1]) >= severity and now < tonumber(told[2]) then
    return 'deduplicated'
  end
  if now < tonumber(told[3]) then
    return 'cooldown'
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - tonumber(ARGV[6]))
if redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then
  return 'device_limit'
end
redis.call('ZADD', KEYS[2], now, ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[6])
redis.call('HSET', KEYS[1], 'severity', severity,
  'deduplicated_until', now + tonumber(ARGV[3]), 'cooled_at', now + tonumber(ARGV[4]),
  'name', ARGV[7])
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[3]), tonumber(ARGV[4]), 1))
return ''
