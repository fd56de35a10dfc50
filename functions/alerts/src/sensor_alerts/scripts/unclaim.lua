-- Gives a claim back, if it is still that of who gives it back.
-- KEYS: 1 the claim; ARGV: 1 whose it is
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
