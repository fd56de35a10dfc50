-- Gives back what take.lua gave, with what is known now.
-- KEYS: 1 what is known (hash)
-- ARGV: 1 who took it, 2 the record (empty: as before), 3 how long it is kept, milliseconds,
--       4 "forget": nothing is known any more
-- Returns 1, or 0 when somebody else has it, or Redis lost it.
if redis.call('HGET', KEYS[1], 'by') ~= ARGV[1] then
  return 0
end
if ARGV[4] == 'forget' then
  redis.call('DEL', KEYS[1])
  return 1
end
redis.call('HDEL', KEYS[1], 'by', 'until')
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'record', ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
