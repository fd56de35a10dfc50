-- Notes something about an alert if it is still the open one of its device and rule.
-- KEYS: 1 the open alert (hash)
-- ARGV: 1 the alert's id, 2 field, 3 value (numbers only rise), 4 "1": what is recorded changes
-- Returns the alert's fields as touch.lua does, or nothing.
if redis.call('HGET', KEYS[1], 'alert_id') ~= ARGV[1] then
  return {}
end
if tonumber(redis.call('HGET', KEYS[1], ARGV[2]) or '0') < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
  if ARGV[4] == '1' then
    redis.call('HINCRBY', KEYS[1], 'version', 1)
  end
end
return {'marked', unpack(redis.call('HMGET', KEYS[1], 'about', 'last_ms', 'value', 'severity',
  'message', 'count', 'version', 'emailed', 'stored', 'notified'))}
