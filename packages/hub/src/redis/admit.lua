-- A new worker: a number that was never used, and the epoch.
-- KEYS: origin, origins, epoch, swept, logs
-- ARGV: lease (ms), a random epoch in case there is none, the number that its workers follow, and how far to go on
if redis.call('SET', KEYS[3], ARGV[2], 'NX') then redis.call('SET', KEYS[1], ARGV[3]) end
local origin = redis.call('INCRBY', KEYS[1], ARGV[4])
local now = clock()
redis.call('ZADD', KEYS[2], now + ARGV[1], origin)
redis.call('ZADD', KEYS[5], '+inf', origin)
-- From the first worker on, a sweep that does not come is noticed.
redis.call('SET', KEYS[4], string.format('%.0f', now), 'NX')
return { origin, redis.call('GET', KEYS[3]) }
