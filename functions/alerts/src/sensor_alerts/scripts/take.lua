-- Takes the right to decide about one device and rule, for a while.
-- KEYS: 1 what is known of them (hash)
-- ARGV: 1 who takes it (unique), 2 for how long, 3 how long what is known is kept; milliseconds
-- Returns "busy"; or "known" and the record; or "unknown"; or "stale", when whoever had it before
-- never gave it back: what is known may then be older than what is stored.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local known = redis.call('HMGET', KEYS[1], 'by', 'until', 'record')
if known[1] and now < tonumber(known[2]) then
  return {'busy'}
end
redis.call('HSET', KEYS[1], 'by', ARGV[1], 'until', now + tonumber(ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if known[1] then
  return {'stale'}
end
if known[3] then
  return {'known', known[3]}
end
return {'unknown'}
