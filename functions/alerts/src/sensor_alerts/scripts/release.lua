-- Deletes a lock that is still one's own. KEYS: 1 the lock; ARGV: 1 whose it is
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
