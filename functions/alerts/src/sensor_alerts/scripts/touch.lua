-- Adds a breach to the open alert of its device and rule, in one step for all replicas.
-- KEYS: 1 the open alert (hash), 2 the breach (string: the alert that it was added to)
-- ARGV: 1 the breach's id, 2 when it was measured, 3 severity, 4 value, 5 message,
--       6 window (all times in milliseconds), 7… fields and values of the alert to open when
--       none is; without them nothing is opened
-- Returns what happened, followed by the fields that Python asks for by name.
local breach, at, severity = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local window = tonumber(ARGV[6])

local function answer(outcome)
  redis.call('SET', KEYS[2], redis.call('HGET', KEYS[1], 'alert_id'), 'PX', window)
  redis.call('PEXPIRE', KEYS[1], window)
  return {outcome, unpack(redis.call('HMGET', KEYS[1], 'about', 'last_ms', 'value', 'severity',
    'message', 'count', 'version', 'emailed', 'stored', 'notified'))}
end

local open = redis.call('HMGET', KEYS[1], 'alert_id', 'first_ms', 'last_ms')
if open[1] then
  if redis.call('GET', KEYS[2]) == open[1] then
    return answer('repeated')
  end
  if at < tonumber(open[2]) - window then
    return {'late'}
  end
  if at > tonumber(open[3]) + window then
    open = {false}
  end
end
if not open[1] then
  if #ARGV < 7 then
    return {'absent'}
  end
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], unpack(ARGV, 7))
  open = redis.call('HMGET', KEYS[1], 'alert_id', 'first_ms', 'last_ms')
  if open[1] == breach then
    return answer('opened')
  end
end
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HINCRBY', KEYS[1], 'version', 1)
if at > tonumber(open[3]) then
  redis.call('HSET', KEYS[1], 'last_ms', at, 'value', ARGV[4])
end
if severity > tonumber(redis.call('HGET', KEYS[1], 'severity')) then
  redis.call('HSET', KEYS[1], 'severity', severity, 'message', ARGV[5])
end
return answer('joined')
